-- Begins every script.  KEYS[1]: where the epoch stands.  ARGV[1]: the epoch that the
-- caller knows.  ARGV[2]: how the keys of that epoch begin.  ARGV[3]: a token of the
-- caller's connection, the second half of the ids of entries made on it: a log that went
-- backwards and grew again has others.  ARGV[4]: the caller, a front-end.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EPOCH the log is another one')
end
local prefix, token, front = ARGV[2], ARGV[3], ARGV[4]
local state, log, expiry = prefix .. 'state', prefix .. 'log', prefix .. 'expiry'

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function session_key(id) return prefix .. 'session:' .. id end
local function front_key(front) return prefix .. 'front:' .. front end

-- tostring() writes large numbers with an exponent.
local function whole(number) return string.format('%.0f', number) end

local function last_position()
  return tonumber(redis.call('HGET', state, 'position'))
end

-- Every key has a time to live from its first moment; front-ends that live renew it.
local function append(position, ...)
  redis.call('XADD', log, whole(position) .. '-' .. token, ...)
  if position == 1 then redis.call('PEXPIRE', log, 3600000) end
  redis.call('HSET', state, 'position', whole(position))
end

-- Only a front-end that lives has an inbox.
local function notify(front, ...)
  redis.call('XADD', prefix .. 'inbox:' .. front, 'NOMKSTREAM', 'MAXLEN', '~', 10000, '*', ...)
end

local function unknown(id)
  local why = redis.call('GET', prefix .. 'farewell:' .. id)
  return redis.error_reply('UNKNOWN ' .. (why or ''))
end

-- The backstop is Redis's own: it works when no front-end sweeps any more.
local function keep(id, milliseconds)
  redis.call('ZADD', expiry, whole(clock() + milliseconds), id)
  redis.call('PEXPIRE', expiry, whole(milliseconds + 3600000))
  redis.call('PEXPIRE', session_key(id), whole(milliseconds + 60000))
end
