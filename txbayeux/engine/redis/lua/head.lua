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

local function session_key(id) return prefix .. 'session:' .. id end
local function node_key(id) return prefix .. 'node:' .. id end

-- tostring() writes large numbers with an exponent.
local function whole(number) return string.format('%d', number) end

-- Trim the log, and record the option for which entries were dropped last.
local function trim(option, ...)
  if redis.call('XTRIM', log, ...) > 0 then redis.call('HSET', state, 'trimmed', option) end
end
