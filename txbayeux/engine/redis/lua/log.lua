-- What scripts need that append to the log; after head.lua and route.lua.  They end with
-- close.lua.
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

-- `octets` counts all bytes ever appended: values, and 64 for each entry.  When it reaches
-- `due`, the log is trimmed.  `at` is the position as text: to make it takes 0.3 µs.
local found = redis.call('HMGET', state, 'position', 'octets', 'due')
local position, octets, due = tonumber(found[1]), tonumber(found[2] or 0) or 0, tonumber(found[3] or 0) or 0
if not position then return redis.error_reply('EPOCH the state is gone') end
local opened, at = position, found[1]

-- Append an entry with these fields and values, and return it for the feeds: an empty text, the
-- id, fields and values, with a NUL between them.
local function append(size, a, b, c, d, ...)
  position, octets = position + 1, octets + size + 64
  at = whole(position)
  local id = at .. '-' .. token
  local added = redis.pcall('XADD', log, id, a, b, c, d, ...)
  if added.err then
    -- "The ID specified in XADD is equal or smaller", "The stream has exhausted ... ID"
    if string.find(added.err, ' ID', 1, true) then remove_foreign(position - 1) end
    redis.call('XADD', log, id, a, b, c, d, ...)
  end
  local text = '\0' .. id .. '\0' .. a .. '\0' .. b .. '\0' .. c .. '\0' .. d
  if ... then text = text .. '\0' .. table.concat({...}, '\0') end
  return text
end

-- For the feed of each node: the epoch, the log's position, the entry that was sent to the node
-- before (see close.lua), and the entries; and the position of the last one.
local feeds, last_sent = {}, {}
local function send(to, entry)
  local feed = feeds[to]
  if feed then
    feed[#feed + 1] = entry
  else
    feeds[to] = {ARGV[1], '', '', entry}
  end
  last_sent[to] = at
end
