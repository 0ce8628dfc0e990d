-- Append messages to the log.  ARGV: most entries to keep; the number of this call, which
-- is greater than that of the call before; '1' if it is repeated because it may or may
-- not have been executed; then for each message the session that must exist or '',
-- channel, JSON.
-- Returns the last position, and the numbers of the refused messages.  If the call was
-- executed before: minus the end of the log, which may be another entry's position.
local position = last_position()
if not position then return redis.error_reply('EPOCH the state is gone') end
local before, result = position, {0}
local own = node_key(node)
local last = redis.call('HMGET', own, 'call', 'token')
-- A Redis that was frozen still reads commands from an abandoned connection.
if last[2] and last[2] ~= token then return redis.error_reply('STALE given up') end
if ARGV[7] == '1' and tonumber(last[1] or 0) >= tonumber(ARGV[6]) then
  return {whole(-position)}
end
for i = 8, #ARGV, 3 do
  local session = ARGV[i]
  if session ~= '' and redis.call('EXISTS', session_key(session)) == 0 then
    result[#result + 1] = (i - 8) / 3
  else
    position = position + 1
    redis.call('XADD', log, whole(position) .. '-' .. token, 'c', ARGV[i + 1], 'j', ARGV[i + 2])
  end
end
redis.call('HSET', own, 'call', ARGV[6])
if position > before then
  redis.call('HSET', state, 'position', whole(position))
  redis.call('XTRIM', log, 'MAXLEN', '~', ARGV[5])
  if before == 0 then redis.call('PEXPIRE', log, 3600000) end
end
result[1] = whole(position)
return result
