-- Begins every script.  KEYS[1]: the key of the epoch.  ARGV[1]: the epoch that the
-- caller knows.  ARGV[2]: the prefix of that epoch's keys.  ARGV[3]: a token of the
-- caller's connection, the second half of the ids of entries made on it: it distinguishes
-- a log that was restored from an old snapshot and has grown again.  ARGV[4]: the id of
-- the calling node.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EPOCH the log is another one')
end
local prefix, token, node = ARGV[2], ARGV[3], ARGV[4]
local state, log, expiry = prefix .. 'state', prefix .. 'log', prefix .. 'expiry'

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function session_key(id) return prefix .. 'session:' .. id end
local function node_key(id) return prefix .. 'node:' .. id end

-- tostring() writes large numbers with an exponent.
local function whole(number) return string.format('%.0f', number) end

local function last_position()
  return tonumber(redis.call('HGET', state, 'position'))
end

-- Every key has a time to live from the start; living nodes renew it.
local function append(position, ...)
  redis.call('XADD', log, whole(position) .. '-' .. token, ...)
  if position == 1 then redis.call('PEXPIRE', log, 3600000) end
  redis.call('HSET', state, 'position', whole(position))
end

-- Only a living node has an inbox.
local function notify(node, ...)
  redis.call('XADD', prefix .. 'inbox:' .. node, 'NOMKSTREAM', 'MAXLEN', '~', 10000, '*', ...)
end

local function unknown(id)
  local why = redis.call('GET', prefix .. 'tombstone:' .. id)
  return redis.error_reply('UNKNOWN ' .. (why or ''))
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
  local current = redis.call('HMGET', key, 'owner', 'behind', 'skipped')
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
