-- Create a session that the caller owns.  ARGV: session; '1' if it acknowledges;
-- milliseconds to live.  Returns a mark for the caller.
local id = ARGV[5]
local position = last_position()
if not position then return redis.error_reply('EPOCH the state is gone') end
redis.call('HSET', session_key(id), 'owner', node, 'generation', 1, 'from', '',
  'acknowledges', ARGV[6], 'cursor', whole(position), 'behind', '', 'seen', whole(position), 'repeats', 0,
  'stream', '', 'skipped', '')
keep(id, tonumber(ARGV[7]))
return {mark(node)}
