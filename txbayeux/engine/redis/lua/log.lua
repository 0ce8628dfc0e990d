-- What scripts need that append to the log; after head.lua.
-- Remove entries after the log's position, which others made: Redis would refuse ours.
-- At most 10,000 of them, for Redis is blocked meanwhile.
local function remove_foreign(last)
  for _ = 1, 10 do
    local found = redis.call('XRANGE', log, whole(last + 1), '+', 'COUNT', 1000)
    for _, entry in ipairs(found) do redis.call('XDEL', log, entry[1]) end
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

local function append(size, ...)
  position, octets = position + 1, octets + size + 64
  local id = whole(position) .. '-' .. token
  local added = redis.pcall('XADD', log, id, ...)
  if added.err then
    -- "The ID specified in XADD is equal or smaller", "The stream has exhausted ... ID"
    if string.find(added.err, ' ID', 1, true) then remove_foreign(position - 1) end
    redis.call('XADD', log, id, ...)
  end
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

-- Every key has a time to live from the start; living nodes renew it.
local function close_log(most, count)
  redis.call('HSET', state, 'position', whole(position), 'octets', whole(octets))
  -- At each sixteenth entry: it costs a tenth of a publish.
  if position % 16 < position - opened then trim('retained_messages', 'MAXLEN', '~', count) end
  if octets >= due then trim_octets(tonumber(most)) end
  if opened == 0 then redis.call('PEXPIRE', log, 3600000) end
end
