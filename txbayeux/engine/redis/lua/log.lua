-- What scripts need that append to the log; after head.lua and route.lua.
-- Remove entries after the log's position, which others made: Redis would refuse ours.
-- At most 10,000 of them, for Redis is blocked meanwhile.
local function remove_foreign(last)
  for _ = 1, 10 do
    local found = redis.call('XRANGE', log, whole(last + 1), '+', 'COUNT', 1000)
    for _, entry in ipairs(found) do redis.call('XDEL', log, entry[1]) end
    redis.call('HINCRBY', state, 'foreign', #found)
    if #found < 1000 then
      local top = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
      redis.call('XSETID', log, top and top[1] or whole(last) .. '-0')
      return
    end
  end
end

-- The log is opened, appended to, and closed.  `octets` counts all bytes ever appended:
-- values, and 64 for each entry.  When it reaches `due`, the log is trimmed.
local position, octets, due, opened
local function open_log()
  local found = redis.call('HMGET', state, 'position', 'octets', 'due')
  position, octets = tonumber(found[1]), tonumber(found[2] or 0) or 0
  due, opened = tonumber(found[3] or 0) or 0, position
  return position
end

-- Append an entry, and return it as XREAD would, in the protocol of Redis.
local function append(size, ...)
  position, octets = position + 1, octets + size + 64
  local id = whole(position) .. '-' .. token
  local added = redis.pcall('XADD', log, id, ...)
  if added.err then
    -- "The ID specified in XADD is equal or smaller", "The stream has exhausted ... ID"
    if string.find(added.err, ' ID', 1, true) then remove_foreign(position - 1) end
    redis.call('XADD', log, id, ...)
  end
  if select('#', ...) == 4 then
    -- A message: half of the time of the loop below.
    local c, channel, j, json = ...
    return '*2\r\n$' .. #id .. '\r\n' .. id .. '\r\n*4\r\n$1\r\n' .. c .. '\r\n$' .. #channel .. '\r\n'
      .. channel .. '\r\n$1\r\n' .. j .. '\r\n$' .. #json .. '\r\n' .. json .. '\r\n'
  end
  local entry = '*2\r\n' .. bulk(id) .. '*' .. select('#', ...) .. '\r\n'
  for i = 1, select('#', ...) do entry = entry .. bulk((select(i, ...))) end
  return entry
end

-- The entries for each node, and the position of the last one.
local feeds, last_sent = {}, {}
local function send(to, entry)
  local feed = feeds[to]
  if feed then
    feed[#feed + 1] = entry
  else
    feeds[to] = {entry}
  end
  last_sent[to] = whole(position)
end

-- Return the channel's name and every pattern that matches it.
local function patterns(channel)
  local found, slash = {channel, ''}, 1
  while slash and slash < #channel do
    found[#found + 1] = string.sub(channel, 1, slash) .. '**'
    found[2] = string.sub(channel, 1, slash) .. '*'
    slash = string.find(channel, '/', slash + 1, true)
  end
  return found
end

-- Return the nodes that want a channel.
local interested = {}
local function nodes_for(channel)
  local found = interested[channel]
  if found then return found end
  found = {}
  local seen = {}
  for _, value in ipairs(redis.call('HMGET', interest, unpack(patterns(channel)))) do
    for to in string.gmatch(value or '', '(%x+):%d+:') do
      if not seen[to] then
        seen[to] = true
        found[#found + 1] = to
      end
    end
  end
  interested[channel] = found
  return found
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

-- Trim the log to `most` bytes.  At each sixteenth of that, a mark with the position and
-- `octets` is recorded: everything up to a mark that is `most` bytes old is dropped.
local function trim_octets(most)
  local marks, oldest = {}, nil
  local recorded = redis.call('HGET', state, 'marks') or ''
  for place, total in string.gmatch(recorded, '(%d+):(%d+)') do
    if octets - tonumber(total) >= most then
      oldest = place
    else
      marks[#marks + 1] = place .. ':' .. total
    end
  end
  marks[#marks + 1] = whole(position) .. ':' .. whole(octets)
  redis.call('HSET', state, 'marks', table.concat(marks, ' '), 'due', whole(octets + most / 16))
  if oldest then trim('retained_bytes', 'MINID', '~', whole(oldest + 1)) end
end

-- Publish what was sent to each node: the log's position, the entry that was sent to it
-- before, and the entries.
local function close_feeds()
  for to, feed in pairs(feeds) do
    local previous = redis.call('HGET', nodes, to)
    if previous then
      publish(to, #feed + 2, bulk(whole(position)) .. bulk(previous) .. table.concat(feed))
      redis.call('HSET', nodes, to, last_sent[to])
    end
  end
end

-- Every key has a time to live from the start; living nodes renew it.
local function close_log(most, count)
  redis.call('HSET', state, 'position', whole(position), 'octets', whole(octets), 'token', token)
  -- At each sixteenth entry: it costs a tenth of a publish.
  if position % 16 < position - opened then trim('retained_messages', 'MAXLEN', '~', count) end
  if octets >= due then trim_octets(tonumber(most)) end
  if opened == 0 then redis.call('PEXPIRE', log, 3600000) end
  close_feeds()
end
