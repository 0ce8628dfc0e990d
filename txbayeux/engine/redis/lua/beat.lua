-- A front-end lives; what has expired is swept.  ARGV: milliseconds that keys
-- outlive the last front-end; the position up to which the log may be forgotten, most
-- sessions to sweep; milliseconds without a sweep after which sessions get a respite, and
-- how long that is.  Gives the position, whether the front-end's inbox was still there,
-- and the sessions that expired.
local lifetime, now = ARGV[5], clock()
local position = last_position()
if not position then return redis.error_reply('EPOCH the state is gone') end
redis.call('HSET', front_key(front), 'beat', whole(now))
redis.call('PEXPIRE', front_key(front), lifetime)
for _, name in ipairs({state, log, expiry, KEYS[1]}) do redis.call('PEXPIRE', name, lifetime) end
local inbox = redis.call('PEXPIRE', prefix .. 'inbox:' .. front, lifetime)
if inbox == 0 then redis.call('XADD', prefix .. 'inbox:' .. front, '*', 'k', 'hello') end
if ARGV[6] ~= '' then redis.call('XTRIM', log, 'MINID', '~', ARGV[6]) end

local result = {whole(position), inbox}
local swept = redis.call('HMGET', state, 'swept', 'respite')
redis.call('HSET', state, 'swept', whole(now))
-- After everybody was away, sessions that could not tell that they live get time to.
if swept[1] and now - tonumber(swept[1]) > tonumber(ARGV[8]) then
  swept[2] = whole(now + ARGV[9])
  redis.call('HSET', state, 'respite', swept[2])
end
if swept[2] and now < tonumber(swept[2]) then return result end
local ids = redis.call('ZRANGEBYSCORE', expiry, '-inf', whole(now), 'LIMIT', 0, ARGV[7])
for _, id in ipairs(ids) do
  redis.call('ZREM', expiry, id)
  local owner = redis.call('HGET', session_key(id), 'owner')
  if owner then
    redis.call('DEL', session_key(id))
    if owner ~= '' and owner ~= front then
      notify(owner, 'k', 'ended', 's', id, 'r', 'timeout', 'w', '')
    end
    result[#result + 1] = id
  end
end
return result
