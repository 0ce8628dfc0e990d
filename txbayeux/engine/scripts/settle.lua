-- The holder goes on without a word from the former one.  ARGV: session; generation.
local key = session_key(ARGV[5])
if redis.call('HGET', key, 'generation') == ARGV[6] then redis.call('HSET', key, 'from', '') end
return 1
