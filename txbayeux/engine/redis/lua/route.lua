-- What scripts need that send to the feeds of nodes; after head.lua.
-- The hash `nodes` has the position of the last entry that was sent to each node; the hash
-- `interest` has, for each channel or pattern, "node:position:number " of each node that wants it.  Both
-- exist as soon as a node has registered.
local nodes, interest = prefix .. 'nodes', prefix .. 'interest'

local function bulk(text) return '$' .. #text .. '\r\n' .. text .. '\r\n' end

-- Publish on the feed of a node: a list in the protocol of Redis, which begins with the epoch.
local function publish(to, count, text)
  redis.call('PUBLISH', string.sub(KEYS[1], 1, -6) .. 'feed:' .. to,
    '*' .. (count + 1) .. '\r\n' .. bulk(ARGV[1]) .. text)
end

-- Return the position of the last entry that was sent to a node, false if Redis does not know
-- what the node wants.  If others removed `interest`, every node registers anew.
local function last_sent_to(id)
  if redis.call('HEXISTS', interest, id) == 0 then redis.call('HDEL', nodes, id) end
  return redis.call('HGET', nodes, id)
end

-- Return a mark for a node: the log's position, the token of the entry there, and the
-- position of the last entry that was sent to the node; '' if Redis has forgotten the node.
local function mark(to)
  local at = redis.call('HMGET', state, 'position', 'token')
  return at[1] or '0', at[2] or '', last_sent_to(to) or ''
end

-- Return the cursor of a node's session: the log's position if nothing was sent to the node
-- after the cursor, for then the rest of the log has nothing for the session.
local function past_the_rest(id, cursor)
  local last = tonumber(last_sent_to(id) or '')
  if not last or last > (tonumber(cursor) or -1) then return cursor end
  if redis.call('HEXISTS', node_key(id), 'incomplete') == 1 then return cursor end
  return redis.call('HGET', state, 'position')
end

-- Split a value of `interest`: return the part of a node, "node:position:number ", as the
-- position of the last change that asked for it and the number of the last acquisition, nil if
-- there is none, and the rest.
local function split(value, id)
  local position, number = string.match(value, id .. ':(%d+):(%d+) ')
  local rest = string.gsub(value, id .. ':%d+:%d+ ', '')
  return tonumber(position), tonumber(number), rest
end

-- Register that a node wants a channel or pattern: because of a change of subscriptions at
-- this position, of the acquisition with this number, or (0, 0) of a listener.
local function want(to, channel, at, number)
  local changed, acquired, others = split(redis.call('HGET', interest, channel) or '', to)
  changed, acquired = math.max(changed or 0, at), math.max(acquired or 0, number)
  redis.call('HSET', interest, channel,
    others .. to .. ':' .. whole(changed) .. ':' .. whole(acquired) .. ' ')
end
