-- What scripts need that register what nodes want; after head.lua and route.lua.
-- Split a value of `interest`: return the part of a node, "node:position:number ", as the
-- position of the last change that asked for it and the number of the last acquisition, nil if
-- there is none, and the rest.
local function split(value, id)
  -- A third of the time of a pattern that begins with the id.
  local first = string.find(value, id, 1, true)
  local _, last, position, number = string.find(value, '^:(%d+):(%d+) ', (first or 1) + #id)
  if not first or not last then return nil, nil, value end
  return tonumber(position), tonumber(number), string.sub(value, 1, first - 1) .. string.sub(value, last + 1)
end

-- Register that a node wants a channel or pattern: because of a change of subscriptions at
-- this position, of the acquisition with this number, or (0, 0) of a listener.
local function want(to, channel, at, number)
  local changed, acquired, others = split(redis.call('HGET', interest, channel) or '', to)
  changed, acquired = math.max(changed or 0, at), math.max(acquired or 0, number)
  redis.call('HSET', interest, channel,
    others .. to .. ':' .. whole(changed) .. ':' .. whole(acquired) .. ' ')
end
