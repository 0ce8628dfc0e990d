-- Release sessions, and record their progress.  ARGV: for each its id, generation,
-- cursor, the undelivered positions before the cursor, the last position sent to its
-- client, and the number of repetitions without an acknowledgement.  An empty cursor
-- means that the caller never loaded the session.
for i = 5, #ARGV, 6 do
  local id, generation, cursor, behind = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local seen, repeats = ARGV[i + 4], ARGV[i + 5]
  local key = session_key(id)
  cursor = skip_unsent(node, cursor)
  local session = session_fields(id, 'owner', 'generation', 'from')
  if not session[1] then
    -- It has ended.
  elseif session[1] == node and session[2] == generation then
    redis.call('HSET', key, 'owner', '', 'cursor', cursor, 'behind', behind, 'seen', seen,
      'repeats', repeats, 'stream', '')
  elseif session[3] == node .. ':' .. generation then
    -- The new owner waits for this.
    if cursor ~= '' then
      redis.call('HSET', key, 'cursor', cursor, 'behind', behind, 'seen', seen,
        'repeats', repeats)
    else
      redis.call('HSET', key, 'seen', '')
    end
    redis.call('HSET', key, 'from', '')
    local now = redis.call('HMGET', key, 'cursor', 'behind', 'seen', 'repeats')
    local at, entry, sent = mark(session[1])
    notify(session[1], 'k', 'released', 's', id, 'g', session[2], 'c', now[1], 'b', now[2],
      'n', now[3], 'r', now[4], 'p', at, 't', entry, 'l', sent)
  elseif behind ~= '' and string.find(redis.call('HGET', key, 'skipped'), ' ' .. generation .. ':', 1, true) then
    -- Too late to record progress, but no other node may have these messages.
    forward(id, generation, behind)
  end
end
return 1
