-- What scripts need that deal with sessions; after head.lua and route.lua.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function last_position()
  return tonumber(redis.call('HGET', state, 'position'))
end

-- Return a mark for a node: the log's position, the token of the entry there, and the
-- position of the last entry that was sent to the node; '' if Redis has forgotten the node.
local function mark(to)
  local at = redis.call('HMGET', state, 'position', 'token')
  return at[1] or '0', at[2] or '', last_sent_to(to) or ''
end

-- Return the cursor of a node's session: the log's position if nothing was sent to the node
-- after the cursor, for then the rest of the log has nothing for the session.
local function skip_unsent(id, cursor)
  local last = tonumber(last_sent_to(id) or '')
  if not last or last > (tonumber(cursor) or -1) then return cursor end
  if redis.call('HEXISTS', node_key(id), 'incomplete') == 1 then return cursor end
  return redis.call('HGET', state, 'position')
end

-- Return fields of a session.  A key that is no hash is removed: the session is unknown.
local function session_fields(id, ...)
  local found = redis.pcall('HMGET', session_key(id), ...)
  if not found.err then return found end
  redis.call('DEL', session_key(id))
  return {}
end

-- Return the nodes that follow a session: its owner, and the former one, "node:generation",
-- that has not released it yet.
local function followers(owner, from)
  local found = {}
  if owner ~= '' then found[1] = owner end
  local former = string.match(from, '^[^:]*')
  if former ~= '' and former ~= owner then found[#found + 1] = former end
  -- If one of them must register anew, this is not sent to it either: it would not see a gap.
  for _, to in ipairs(found) do last_sent_to(to) end
  return found
end

-- Append the channels of a session to a list.
local function add_subscriptions(list, id)
  local fields = redis.call('HGETALL', session_key(id))
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 1) == '/' then list[#list + 1] = fields[i] end
  end
end

-- Publish a notice on a node's feed, and keep it in the node's inbox; both have its number.
-- Only a living node has an inbox.
local function notify(to, ...)
  local inbox = prefix .. 'inbox:' .. to
  if redis.call('EXISTS', inbox) == 0 then return end
  local number = redis.call('HINCRBY', node_key(to), 'notices', 1)
  local added = redis.pcall('XADD', inbox, 'MAXLEN', '~', 10000, whole(number) .. '-0', ...)
  if added.err then
    -- Others have written to it, or replaced it.
    redis.call('DEL', inbox)
    redis.call('XADD', inbox, whole(number) .. '-0', ...)
    redis.call('HINCRBY', state, 'foreign', 1)
  end
  publish(to, {ARGV[1], 'notice', whole(number), '', ...})
end

local function unknown(id)
  local why = redis.pcall('GET', prefix .. 'tombstone:' .. id)
  return redis.error_reply('UNKNOWN ' .. (type(why) == 'string' and why or ''))
end

-- Stop waiting for the release of a predecessor, "node:generation".  The owner delivers
-- everything after the cursor, and the positions in `behind`, again: the field `skipped`
-- records "generation:cursor:,behind," of each such predecessor.
local function skip(key, from, cursor, behind)
  local record = string.match(from, '[^:]*$') .. ':' .. cursor .. ':,' .. string.gsub(behind, ' ', ',') .. ','
  redis.call('HSET', key, 'from', '', 'skipped', redis.call('HGET', key, 'skipped') .. ' ' .. record)
end

-- Forward messages that the owner with this generation could not deliver to the current
-- owner, except those that were delivered again because a later owner stopped waiting for
-- this generation or a newer one.  `absent`: the caller owns the session but has not
-- loaded it.
local function forward(id, generation, positions, absent)
  local key, left = session_key(id), {}
  local current = session_fields(id, 'owner', 'behind', 'skipped')
  if not current[1] then return 0 end
  for position in string.gmatch(positions, '%d+') do
    local repeated = false
    for last, cursor, behind in string.gmatch(current[3], '(%d+):(%d+):(%S+)') do
      repeated = repeated or tonumber(last) >= tonumber(generation)
        and (tonumber(position) > tonumber(cursor)
          or string.find(behind, ',' .. position .. ',', 1, true) ~= nil)
    end
    if not repeated then left[#left + 1] = position end
  end
  positions = table.concat(left, ' ')
  if positions == '' then return 1 end
  if current[1] == '' or current[1] == node and absent then
    redis.call('HSET', key, 'behind', current[2] == '' and positions or positions .. ' ' .. current[2])
  else
    notify(current[1], 'k', 'returned', 's', id, 'g', generation, 'b', positions)
  end
  return 1
end

-- Redis removes the keys itself when no node sweeps any more.
local function keep(id, milliseconds)
  redis.call('ZADD', expiry, whole(clock() + milliseconds), id)
  redis.call('PEXPIRE', expiry, whole(milliseconds + 3600000))
  redis.call('PEXPIRE', session_key(id), whole(milliseconds + 60000))
end
