-- Subscribe or unsubscribe.  ARGV: session; '+' or '-'; most subscriptions, then
-- channels.  Returns the log's position and the channels that changed.  The session's
-- owner reads the change from the log, in its order among the messages.
local id, sign = ARGV[5], ARGV[6]
local key = session_key(id)
local owner = redis.call('HGET', key, 'owner')
if not owner then return unknown(id) end
local changed, seen = {}, {}
for i = 8, #ARGV do
  local channel = ARGV[i]
  if not seen[channel] and redis.call('HEXISTS', key, channel) == (sign == '+' and 0 or 1) then
    seen[channel] = true
    changed[#changed + 1] = channel
  end
end
-- Ten fields are not subscriptions: those that create.lua sets.
if sign == '+' and redis.call('HLEN', key) - 10 + #changed > tonumber(ARGV[7]) then
  return redis.error_reply('LIMIT too many subscriptions')
end
local position = last_position()
if #changed > 0 then
  if owner ~= '' then
    position = position + 1
    append(position, 'u', id, sign, table.concat(changed, ' '))
  end
  for _, channel in ipairs(changed) do
    if sign == '+' then
      redis.call('HSET', key, channel, whole(position))
    else
      redis.call('HDEL', key, channel)
    end
  end
end
table.insert(changed, 1, whole(position))
return changed
