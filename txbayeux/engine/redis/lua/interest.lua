-- Register what the caller wants, and what it does not want any more.  ARGV: the position to
-- which the caller has come on its feed; the number of its acquisitions that are complete, with
-- all those before; then pairs of '+' or '-' and a channel or pattern.
-- Returns those that it still wants, for what it has not seen yet.
if redis.call('HGET', node_key(node), 'token') ~= token then
  return redis.error_reply('STALE given up')
end
last_sent_to(node)
local result = {}
for i = 7, #ARGV, 2 do
  local channel = ARGV[i + 1]
  if ARGV[i] == '+' then
    want(node, channel, 0, 0)
  else
    local changed, acquired, others = split(redis.call('HGET', interest, channel) or '', node)
    if changed and (changed > tonumber(ARGV[5]) or acquired > tonumber(ARGV[6])) then
      result[#result + 1] = channel
    elseif changed and others == '' then
      redis.call('HDEL', interest, channel)
    elseif changed then
      redis.call('HSET', interest, channel, others)
    end
  end
end
return result
