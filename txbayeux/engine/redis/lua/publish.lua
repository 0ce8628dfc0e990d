-- Append messages to the log, and publish them on the feeds of the nodes that want them.
-- head.lua, route.lua and log.lua come before this; they describe ARGV 1 to 4 and define
-- open_log, append, send and close_log.  ARGV 5 and 6: maximum bytes and entries
-- of the log; 7: the number of this call, which is greater than that of the call before;
-- 8: '1' if it is repeated because it may or may not have been executed; from 9 on for each
-- message: the session that must exist or '', channel, JSON.
-- Returns the last position, the position of the last of these that was sent to the caller,
-- or 0, and the numbers of the refused messages.  If the call was executed before: minus the end of the
-- log, which may be another entry's position, and the last entry that was sent to the caller.
if not open_log() then return redis.error_reply('EPOCH the state is gone') end
local result = {0, 0}
local own = node_key(node)
local last = redis.call('HMGET', own, 'call', 'token')
-- A Redis that was frozen still reads commands from an abandoned connection.
if last[2] and last[2] ~= token then return redis.error_reply('STALE given up') end
if ARGV[8] == '1' and tonumber(last[1] or 0) >= tonumber(ARGV[7]) then
  return {whole(-position), redis.call('HGET', nodes, node) or 0}
end
for i = 9, #ARGV, 3 do
  local session = ARGV[i]
  if session ~= '' and redis.call('EXISTS', session_key(session)) == 0 then
    result[#result + 1] = (i - 9) / 3
  else
    local channel, json = ARGV[i + 1], ARGV[i + 2]
    local entry = append(#channel + #json, 'c', channel, 'j', json)
    for _, to in ipairs(nodes_for(channel)) do send(to, entry) end
  end
end
redis.call('HSET', own, 'call', ARGV[7])
if position > opened then close_log(ARGV[5], ARGV[6]) end
result[1], result[2] = whole(position), last_sent[node] or 0
return result
