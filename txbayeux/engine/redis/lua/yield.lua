-- Let go of sessions, and say how far they came.  ARGV: for each its session,
-- generation, cursor, the positions of what waits that is older, the position that it was
-- told last, and how often in vain.  An empty cursor says that the caller did not hold it.
for i = 5, #ARGV, 6 do
  local id, generation, cursor, behind = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local seen, repeats = ARGV[i + 4], ARGV[i + 5]
  local key = session_key(id)
  local held = redis.call('HMGET', key, 'owner', 'generation', 'from')
  if not held[1] then
    -- Ended meanwhile.
  elseif held[1] == front and held[2] == generation then
    redis.call('HSET', key, 'owner', '', 'cursor', cursor, 'behind', behind, 'seen', seen,
      'repeats', repeats, 'stream', '')
  elseif held[3] == front .. ':' .. generation then
    if cursor ~= '' then
      redis.call('HSET', key, 'cursor', cursor, 'behind', behind, 'seen', seen,
        'repeats', repeats)
    else
      redis.call('HSET', key, 'seen', '')
    end
    redis.call('HSET', key, 'from', '')
    local now = redis.call('HMGET', key, 'cursor', 'behind', 'seen', 'repeats')
    notify(held[1], 'k', 'yielded', 's', id, 'g', held[2], 'c', now[1], 'b', now[2], 'n', now[3],
      'r', now[4])
  elseif behind ~= '' and string.find(redis.call('HGET', key, 'skipped'), ' ' .. generation .. ':', 1, true) then
    -- Too late to say how far it came, but what it still has may be with nobody else.
    hand_on(id, generation, behind)
  end
end
return 1
