-- Record that the caller lives, and end sessions that have expired.  ARGV: milliseconds
-- that keys outlive the last node; the position up to which the log may be trimmed, or '';
-- maximum sessions to end, of which each counts once more for ten of its fields;
-- milliseconds without any heartbeat after which expiry is suspended, and for how long;
-- a text of the caller's options; milliseconds without a heartbeat after which a node is
-- forgotten; the position that all its sessions have reached (see checkpoint.lua), or ''.
-- Returns a mark for the caller, how many entries of others were removed in all, whether the
-- caller's inbox still existed, whether more sessions have expired, the option for which
-- entries of the log were dropped last, how many notices were sent to the caller, and for each
-- session that has ended its id and subscriptions.
local lifetime, now = ARGV[5], clock()
redis.call('HSET', node_key(node), 'heartbeat', whole(now))
if ARGV[12] ~= '' then redis.call('HSET', node_key(node), 'position', ARGV[12]) end
redis.call('PEXPIRE', node_key(node), lifetime)
for _, name in ipairs({state, log, expiry, nodes, interest, KEYS[1]}) do
  redis.call('PEXPIRE', name, lifetime)
end
local inbox = redis.call('PEXPIRE', prefix .. 'inbox:' .. node, lifetime)
if inbox == 0 then redis.call('XADD', prefix .. 'inbox:' .. node, '0-1', 'k', 'created') end
if ARGV[6] ~= '' then trim('retained_seconds', 'MINID', '~', ARGV[6]) end

local at, entry, sent = mark(node)
if #redis.call('XRANGE', log, whole(position + 1), '+', 'COUNT', 1) > 0 then remove_foreign(position) end
local result = {at, entry, sent, redis.call('HGET', state, 'foreign') or '0', inbox, 0, redis.call('HGET', state, 'trimmed') or '',
  redis.call('HGET', node_key(node), 'notices') or '0'}
local swept = redis.call('HMGET', state, 'swept', 'respite', 'looked')
redis.call('HSET', state, 'swept', whole(now), 'options', ARGV[10], 'options_at', whole(now))
local last, respite = tonumber(swept[1] or ''), tonumber(swept[2] or '')
if last and now - (tonumber(swept[3] or '') or 0) > ARGV[11] / 10 then
  redis.call('HSET', state, 'looked', whole(now))
  forget_dead(last, tonumber(ARGV[11]))
end
remove_some()
-- After all nodes were away, sessions get time to reconnect.
if last and now - last > tonumber(ARGV[8]) then
  respite = now + ARGV[9]
  redis.call('HSET', state, 'respite', whole(respite))
end
if respite and now < respite then return result end
local ids = redis.call('ZRANGEBYSCORE', expiry, '-inf', whole(now), 'LIMIT', 0, ARGV[7])
local work = 0
for _, id in ipairs(ids) do
  redis.call('ZREM', expiry, id)
  local owner = session_fields(id, 'owner')[1]
  work = work + 1 + math.floor(redis.call('HLEN', session_key(id)) / 10)
  if owner then
    local ended = {id}
    add_subscriptions(ended, id)
    redis.call('DEL', session_key(id))
    if owner ~= '' and owner ~= node then
      notify(owner, 'k', 'ended', 's', id, 'r', 'timeout', 'w', '')
    end
    result[#result + 1] = ended
  end
  if work >= tonumber(ARGV[7]) then
    result[6] = 1
    break
  end
end
return result
