-- Make the caller the owner of a session.  ARGV: session; milliseconds to live;
-- milliseconds without a heartbeat after which a node counts as dead; '1' to leave the
-- session where it is if its owner lives and has an event stream open for it; the number of
-- this acquisition among those of the caller.
-- Returns: 0 if left there, else the generation; 1 if the former owner lives and will
-- release the session; a mark for the caller; acknowledges; cursor; behind; seen; repeats;
-- then the subscriptions, each with its position.
local id = ARGV[5]
local key = session_key(id)
local session = session_fields(id, 'owner', 'generation', 'from', 'acknowledges',
  'cursor', 'behind', 'stream', 'seen', 'repeats', 'skipped')
local owner, generation, from = session[1], tonumber(session[2]), session[3]
if not owner then return unknown(id) end
local at, entry, sent = mark(node)
if sent == '' then return redis.error_reply('STALE the caller was forgotten') end
for i = 1, 10 do
  if not session[i] or not generation then
    -- Others changed it.
    redis.call('DEL', key)
    return unknown(id)
  end
end

-- Measured from the last heartbeat of any node: while Redis is frozen, none arrives.
local function alive(other)
  local heartbeat = tonumber(redis.call('HGET', node_key(other), 'heartbeat'))
  local last = tonumber(redis.call('HGET', state, 'swept')) or clock()
  return heartbeat and last - heartbeat < tonumber(ARGV[7])
end

keep(id, tonumber(ARGV[6]))
if owner ~= node and owner ~= '' and session[7] == '1' and ARGV[8] == '1' and alive(owner) then
  return {0}
end
local cursor, behind = session[5], session[6]
if owner ~= node then
  generation = generation + 1
  if owner ~= '' then
    -- An empty cursor stands for the position that the owner wrote for all its sessions.
    if cursor == '' then
      cursor = skip_unsent(owner, redis.call('HGET', node_key(owner), 'position') or '')
      behind = ''
    end
    -- If the former owner has not loaded the session yet, its predecessor must release it.
    if from == '' then from = owner .. ':' .. whole(generation - 1) end
    notify(owner, 'k', 'acquired', 's', id, 'g', whole(generation))
  end
  redis.call('HSET', key, 'owner', node, 'generation', whole(generation), 'from', from,
    'cursor', cursor, 'behind', behind, 'stream', '')
end
local waits = from ~= '' and alive(string.match(from, '^[^:]*'))
-- The caller continues without the predecessor; a later release of that one is refused.
if from ~= '' and not waits then skip(key, from, cursor, behind) end
-- What the client has seen is known only from an owner that released the session.
local result = {generation, waits and 1 or 0, at, entry, sent, session[4], cursor, behind,
  owner == '' and session[8] or '', session[9]}
local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 1) == '/' then
    result[#result + 1] = fields[i]
    result[#result + 1] = fields[i + 1]
    want(node, fields[i], 0, tonumber(ARGV[9]))
  end
end
return result
