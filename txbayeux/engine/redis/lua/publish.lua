-- Append messages to the log, and publish them on the feeds of the nodes that want them.
-- head.lua, route.lua and log.lua come before this, and close.lua after it; head.lua describes
-- ARGV 1 to 4.  ARGV 5 and 6: maximum bytes and entries of the log; 7: the number of this call,
-- which is greater than that of the call before; 8: '1' if it is repeated because it may or may
-- not have been executed; from 9 on for each message: the session that must exist or '', channel,
-- JSON.
-- Returns the last position, the position of the last of these that was sent to the caller, or 0,
-- and the numbers of the refused messages.  If the call was executed before: minus the end of the
-- log, which may be another entry's position, and the last entry that was sent to the caller.
local most_octets, most_entries = tonumber(ARGV[5]), ARGV[6]
local own = node_key(node)
local last = redis.call('HMGET', own, 'call', 'token')
-- A Redis that was frozen still reads commands from an abandoned connection.
if last[2] and last[2] ~= token then return redis.error_reply('STALE given up') end
if ARGV[8] == '1' and tonumber(last[1] or 0) >= tonumber(ARGV[7]) then
  return {'-' .. at, redis.call('HGET', nodes, node) or 0}
end

-- The names to look up: each channel, and each pattern that matches one of them.  Those that
-- match a channel depend on its parent only, what precedes its last segment.
local names, interests, patterns = {}, {}, {}
for i = 10, #ARGV, 3 do
  local channel = ARGV[i]
  local parent = string.match(channel, '^(.*/).')
  if not interests[channel] then
    names[#names + 1], interests[channel] = channel, ''
  end
  if parent and not patterns[parent] then
    local found, slash = {parent .. '*'}, 1
    while slash do
      found[#found + 1] = string.sub(parent, 1, slash) .. '**'
      slash = string.find(parent, '/', slash + 1, true)
    end
    for _, pattern in ipairs(found) do
      if not interests[pattern] then
        names[#names + 1], interests[pattern] = pattern, ''
      end
    end
    patterns[parent] = found
  end
end
for first = 1, #names, 1000 do
  local values = redis.call('HMGET', interest, unpack(names, first, math.min(first + 999, #names)))
  for i, value in ipairs(values) do interests[names[first + i - 1]] = value or '' end
end
for parent, found in pairs(patterns) do
  for i, pattern in ipairs(found) do found[i] = interests[pattern] end
  patterns[parent] = table.concat(found)
end

local result = {0, 0}
for i = 9, #ARGV, 3 do
  local session, channel, json = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if session ~= '' and redis.call('EXISTS', session_key(session)) == 0 then
    result[#result + 1] = (i - 9) / 3
  else
    local entry = append(#channel + #json, 'c', channel, 'j', json)
    local wanted, seen = interests[channel] .. (patterns[string.match(channel, '^(.*/).')] or ''), {}
    for to in string.gmatch(wanted, '(%x+):%d+:') do
      if not seen[to] then send(to, entry) end
      seen[to] = true
    end
  end
end
redis.call('HSET', own, 'call', ARGV[7])
result[1], result[2] = at, last_sent[node] or 0
