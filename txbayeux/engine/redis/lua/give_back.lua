-- Hand on what could not be written for a session that is held elsewhere by now.
-- ARGV: session; positions; '1' if the caller does not hold it, though it be the holder.
-- 1 if there is somebody who will.
local key, positions = session_key(ARGV[5]), ARGV[6]
local held = redis.call('HMGET', key, 'owner', 'behind')
if not held[1] then return 0 end
if held[1] == '' or held[1] == front and ARGV[7] == '1' then
  redis.call('HSET', key, 'behind', held[2] == '' and positions or positions .. ' ' .. held[2])
else
  notify(held[1], 'k', 'returned', 's', ARGV[5], 'b', positions)
end
return 1
