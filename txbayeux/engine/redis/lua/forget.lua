-- Forgets nodes, and what they were interested in; after head.lua and route.lua.
-- The fields of `state`: `forgotten`, the ids of nodes whose interest is still to be removed;
-- `removing`, those of the pass over all interests that is under way; `cursor`, how far it is.
local function forget_node(id)
  redis.call('HDEL', nodes, id)
  local others = redis.call('HGET', state, 'forgotten') or ''
  redis.call('HSET', state, 'forgotten', others .. id .. ' ')
end

-- Forget the nodes without a heartbeat in the last `limit` milliseconds before `last`.
local function forget_dead(last, limit)
  for _, id in ipairs(redis.call('HKEYS', nodes)) do
    local heartbeat = tonumber(redis.call('HGET', node_key(id), 'heartbeat') or 0) or 0
    if id ~= node and last - heartbeat > limit then forget_node(id) end
  end
end

-- Remove the interest of forgotten nodes from some hundred fields.
local function remove_some()
  local found = redis.call('HMGET', state, 'removing', 'cursor', 'forgotten')
  local removing, cursor = found[1] or '', found[2] or '0'
  if removing == '' then
    removing, cursor = found[3] or '', '0'
    if removing == '' then return end
    redis.call('HSET', state, 'removing', removing, 'forgotten', '')
  end
  local none = {}
  for id in string.gmatch(removing, '%x+') do none[id] = '' end
  local part = redis.call('HSCAN', interest, cursor, 'COUNT', 500)
  for i = 1, #part[2], 2 do
    local kept = string.gsub(part[2][i + 1], '(%x+):%d+:%d+ ', none)
    if kept == '' then
      redis.call('HDEL', interest, part[2][i])
    elseif kept ~= part[2][i + 1] then
      redis.call('HSET', interest, part[2][i], kept)
    end
  end
  redis.call('HSET', state, 'cursor', part[1])
  if part[1] == '0' then redis.call('HSET', state, 'removing', '') end
end
