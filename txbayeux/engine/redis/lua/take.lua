-- Make the caller the holder of a session.  ARGV: session; milliseconds to live;
-- milliseconds without a beat after which a front-end counts as dead; '1' to leave it
-- where it is if its holder lives and has an event stream open for it.
-- Gives: 0 if left there, else the generation; whether the former holder, being alive,
-- will say how far it came; position; acknowledges; cursor; behind; seen; repeats;
-- subscriptions each with its position.
local id = ARGV[5]
local key = session_key(id)
local held = redis.call('HMGET', key, 'owner', 'generation', 'from', 'acknowledges',
  'cursor', 'behind', 'stream', 'seen', 'repeats')
local owner, generation, from = held[1], tonumber(held[2]), held[3]
if not owner then return unknown(id) end

-- By the last sign of life of anybody: when Redis was frozen, nobody could give one.
local function beats(other)
  local beat = tonumber(redis.call('HGET', front_key(other), 'beat'))
  local last = tonumber(redis.call('HGET', state, 'swept')) or clock()
  return beat and last - beat < tonumber(ARGV[7])
end

keep(id, tonumber(ARGV[6]))
if owner ~= front and owner ~= '' and held[7] == '1' and ARGV[8] == '1' and beats(owner) then
  return {0}
end
local cursor, behind = held[5], held[6]
if owner ~= front then
  generation = generation + 1
  if owner ~= '' then
    -- What the former holder did not write down for this session, it did for all.
    if cursor == '' then
      cursor = redis.call('HGET', front_key(owner), 'position') or ''
      behind = ''
    end
    -- Where the former holder has not even opened it, its own predecessor is to answer.
    if from == '' then from = owner .. ':' .. whole(generation - 1) end
    notify(owner, 'k', 'taken', 's', id, 'g', whole(generation))
  end
  redis.call('HSET', key, 'owner', front, 'generation', whole(generation), 'from', from,
    'cursor', cursor, 'behind', behind, 'stream', '')
end
local waits = from ~= '' and beats(string.match(from, '^[^:]*'))
-- From here on the predecessor is not waited for: should it wake up, it comes too late.
if from ~= '' and not waits then skip(key, from, cursor, behind) end
-- A holder that died did not say what it had sent.
local result = {generation, waits and 1 or 0, whole(last_position()), held[4], cursor, behind,
  owner == '' and held[8] or '', held[9]}
local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 1) == '/' then
    result[#result + 1] = fields[i]
    result[#result + 1] = fields[i + 1]
  end
end
return result
