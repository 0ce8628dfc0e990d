-- Subscribe or unsubscribe.  ARGV: session; '+' or '-'; most subscriptions, and most
-- bytes of their names; maximum bytes and entries of the log; then channels.  Returns the
-- log's position, that of the change if it was sent to the caller, or 0, and the channels that
-- changed.  The session's owner gets the change on its feed, in its order among the messages.
local id, sign = ARGV[5], ARGV[6]
local key = session_key(id)
local session = session_fields(id, 'owner', 'from')
local owner, from = session[1], session[2]
if not owner then return unknown(id) end
local changed, seen = {}, {}
for i = 11, #ARGV do
  local channel = ARGV[i]
  if not seen[channel] and redis.call('HEXISTS', key, channel) == (sign == '+' and 0 or 1) then
    seen[channel] = true
    changed[#changed + 1] = channel
  end
end
if sign == '+' and #changed > 0 then
  -- Ten fields are not subscriptions: those that create.lua sets.
  local count = redis.call('HLEN', key) - 10 + #changed
  if count > tonumber(ARGV[7]) then
    return redis.error_reply('LIMIT too many subscriptions')
  end
  local most = tonumber(ARGV[8])
  if count * 1024 > most then  -- the longest name
    local bytes = #table.concat(changed)
    local fields = redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
      if string.sub(fields[i], 1, 1) == '/' then bytes = bytes + #fields[i] end
    end
    if bytes > most then return redis.error_reply('SIZE too long subscriptions') end
  end
end
local most_octets, most_entries = tonumber(ARGV[9]), ARGV[10]
if #changed > 0 then
  if owner ~= '' then
    local channels = table.concat(changed, ' ')
    local entry = append(#channels + #id, 'u', id, sign, channels)
    for _, to in ipairs(followers(owner, from or '')) do
      send(to, entry)
      if sign == '+' and redis.call('HEXISTS', nodes, to) == 1 then
        for _, channel in ipairs(changed) do want(to, channel, position, 0) end
      end
    end
  end
  for _, channel in ipairs(changed) do
    if sign == '+' then
      redis.call('HSET', key, channel, at)
    else
      redis.call('HDEL', key, channel)
    end
  end
end
local result = {at, last_sent[node] or 0}
for i, channel in ipairs(changed) do result[i + 2] = channel end
