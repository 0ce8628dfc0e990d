-- Ask whether the former holder has said how far it came; with a last '1', the holder
-- goes on without that.  ARGV: session; generation; '1' or ''.  Gives 1 if it has not.
local key = session_key(ARGV[5])
local held = redis.call('HMGET', key, 'generation', 'from')
if held[1] ~= ARGV[6] or held[2] == '' then return 0 end
if ARGV[7] == '1' then redis.call('HSET', key, 'from', '') end
return 1
