-- Register a node: return the epoch, or begin one, and check that the log is still the
-- one that the node has read.  KEYS[1]: the epoch.  ARGV: the prefix of all keys; the epoch
-- to begin; the node; milliseconds that keys outlive the last node; the epoch that it
-- knows, '' for none; the token of this connection; a text of its options; milliseconds for
-- which such a text counts; pairs of position and token that it has seen in the log.
-- Returns epoch, whether the log is the 'same' or a 'new' one, the options of the node that
-- recorded them last, '' if that is too long ago, a mark for the caller, whether its interest
-- is 'known' or 'unknown', how many entries of others were removed in all, and how many notices
-- were sent to the caller.
local all, fresh, node, lifetime, known = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local function is(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

if not is(KEYS[1], 'string') then redis.call('DEL', KEYS[1]) end
local epoch = redis.call('GET', KEYS[1])
-- Others may have replaced keys without which there is no state.
if epoch and not (is(all .. epoch .. ':state', 'hash') and is(all .. epoch .. ':log', 'stream')
    and is(all .. epoch .. ':expiry', 'zset') and is(all .. epoch .. ':nodes', 'hash')
    and is(all .. epoch .. ':interest', 'hash')) then
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
-- A cursor of HSCAN means nothing in another process of Redis: see forget.lua.
redis.call('HSET', state, 'cursor', '0')
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
  redis.call('XADD', inbox, '0-1', 'k', 'created')
end
redis.call('PEXPIRE', inbox, lifetime)

-- In the hash of interests, each node has a field of its own as well: it shows that the
-- hash is still the one in which the node registered.
local nodes, interests, interest = all .. epoch .. ':nodes', all .. epoch .. ':interest', 'known'
local found = redis.call('HMGET', state, 'token', 'foreign', 'forgotten', 'removing')
local fresh_position = redis.call('HSETNX', nodes, node, string.format('%.0f', position))
if redis.call('HSETNX', interests, node, node .. ':0:0 ') + fresh_position > 0 then
  interest = 'unknown'
  redis.call('HSET', own, 'incomplete', 1)  -- until complete.lua
  -- It was forgotten: what it wants from now on is not to be removed.
  for i, name in ipairs({'forgotten', 'removing'}) do
    if found[i + 2] then redis.call('HSET', state, name, (string.gsub(found[i + 2], node .. ' ', ''))) end
  end
elseif redis.call('HEXISTS', own, 'incomplete') == 1 then
  interest = 'unknown'  -- Redis was restored to a state of before complete.lua.
end
-- A long value: Redis keeps a hash table then, not a list that each look-up searches.
redis.call('HSETNX', interests, '', string.rep('-', 100))
redis.call('PEXPIRE', nodes, lifetime)
redis.call('PEXPIRE', interests, lifetime)
return {epoch, verdict, options, string.format('%.0f', position), found[1] or '',
  redis.call('HGET', nodes, node), interest, found[2] or '0',
  redis.call('HGET', own, 'notices') or '0'}
