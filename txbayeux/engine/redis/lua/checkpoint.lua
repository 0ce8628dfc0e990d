-- Record the progress of the caller's sessions.  ARGV: the position reached by every
-- session that is not listed; its time to live in milliseconds; the number of listed
-- sessions; for each its id, generation, cursor ('' for that shared position, '=' if
-- unchanged) and '1' if an event stream is open for it; then id, generation and time to
-- live in milliseconds of the sessions that connected.
-- Returns a mark for the caller.
local function owned(id, generation)
  local session = session_fields(id, 'owner', 'generation')
  return session[1] == node and session[2] == generation
end

local count = tonumber(ARGV[7])
if ARGV[5] ~= '' then
  redis.call('HSET', node_key(node), 'position', ARGV[5])
  redis.call('PEXPIRE', node_key(node), ARGV[6])
end
for i = 8, 7 + count * 4, 4 do
  if owned(ARGV[i], ARGV[i + 1]) then
    local key = session_key(ARGV[i])
    redis.call('HSET', key, 'stream', ARGV[i + 3])
    if ARGV[i + 2] ~= '=' then redis.call('HSET', key, 'cursor', ARGV[i + 2], 'behind', '') end
  end
end
for i = 8 + count * 4, #ARGV, 3 do
  if owned(ARGV[i], ARGV[i + 1]) then keep(ARGV[i], tonumber(ARGV[i + 2])) end
end
return {mark(node)}
