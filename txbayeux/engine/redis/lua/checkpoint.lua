-- Write down how far the caller's sessions came.  ARGV: the position that all
-- reached which are not listed; milliseconds to keep that; how many are listed; for each
-- its session, generation, cursor ('' if it reached that position, too) and whether an
-- event stream is open for it; then session, generation and milliseconds to live of those
-- that connected.
-- Gives the log's position.
local function owned(id, generation)
  local held = redis.call('HMGET', session_key(id), 'owner', 'generation')
  return held[1] == front and held[2] == generation
end

local count = tonumber(ARGV[7])
if ARGV[5] ~= '' then
  redis.call('HSET', front_key(front), 'position', ARGV[5])
  redis.call('PEXPIRE', front_key(front), ARGV[6])
end
for i = 8, 7 + count * 4, 4 do
  if owned(ARGV[i], ARGV[i + 1]) then
    redis.call('HSET', session_key(ARGV[i]), 'cursor', ARGV[i + 2], 'behind', '', 'stream', ARGV[i + 3])
  end
end
for i = 8 + count * 4, #ARGV, 3 do
  if owned(ARGV[i], ARGV[i + 1]) then keep(ARGV[i], tonumber(ARGV[i + 2])) end
end
return whole(last_position() or 0)
