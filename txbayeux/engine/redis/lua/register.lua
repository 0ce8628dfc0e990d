-- Register a node: return the epoch, or begin one, and check that the log is still the
-- one that the node has read.  KEYS[1]: the epoch.  ARGV: the prefix of all keys; the epoch
-- to begin; the node; milliseconds that keys outlive the last node; the epoch that it
-- knows, '' for none; the token of this connection; a text of its options; milliseconds for
-- which such a text counts; pairs of position and token that it has seen in the log.
-- Returns epoch, position, whether the log is the 'same' or a 'new' one, and the options
-- of the node that recorded them last, '' if that is too long ago.
local all, fresh, node, lifetime, known = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local function is(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

if not is(KEYS[1], 'string') then redis.call('DEL', KEYS[1]) end
local epoch = redis.call('GET', KEYS[1])
-- Others may have replaced keys without which there is no state.
if epoch and not (is(all .. epoch .. ':state', 'hash') and is(all .. epoch .. ':log', 'stream')
    and is(all .. epoch .. ':expiry', 'zset')) then
  epoch = nil
end
local state = epoch and all .. epoch .. ':state'
local position = epoch and tonumber(redis.call('HGET', state, 'position'))
local verdict = 'same'
if not position then
  epoch = nil
elseif known ~= epoch then
  verdict = 'new'
else
  local log = all .. epoch .. ':log'
  local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  first = first and tonumber(string.match(first[1], '^%d+')) or position + 1
  for i = 9, #ARGV, 2 do
    local seen = tonumber(ARGV[i])
    local id = ARGV[i] .. '-' .. ARGV[i + 1]
    if seen > position then
      epoch = nil
    elseif seen >= first and #redis.call('XRANGE', log, id, id) == 0 then
      epoch = nil
    end
  end
end
if not epoch then
  epoch, position, verdict = fresh, 0, 'new'
  redis.call('SET', KEYS[1], epoch)
  redis.call('HSET', all .. epoch .. ':state', 'position', 0)
end
state = all .. epoch .. ':state'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local heartbeat = string.format('%.0f', now)
local recorded = redis.call('HMGET', state, 'options', 'options_at')
local options = recorded[1] or ''
if now - (tonumber(recorded[2] or '') or 0) > tonumber(ARGV[8]) then options = '' end
redis.call('HSET', state, 'options', ARGV[7], 'options_at', heartbeat)
redis.call('PEXPIRE', KEYS[1], lifetime)
redis.call('PEXPIRE', state, lifetime)
-- From now on other nodes rely on this one: it is alive, and reads its inbox.
local own, inbox = all .. epoch .. ':node:' .. node, all .. epoch .. ':inbox:' .. node
if not is(own, 'hash') then redis.call('DEL', own) end
if not is(inbox, 'stream') then redis.call('DEL', inbox) end
redis.call('HSET', own, 'heartbeat', heartbeat, 'token', ARGV[6])
redis.call('HSETNX', own, 'position', string.format('%.0f', position))
redis.call('PEXPIRE', own, lifetime)
if redis.call('EXISTS', inbox) == 0 then
  redis.call('XADD', inbox, '*', 'k', 'created')
end
redis.call('PEXPIRE', inbox, lifetime)
return {epoch, string.format('%.0f', position), verdict, options}
