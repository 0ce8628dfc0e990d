-- Ask whether the former holder has said how far it came; with a last '1', the holder
-- goes on without that.  ARGV: session; generation; '1' or ''.  Gives what it has said:
-- cursor, behind, seen, repeats; nothing if it has not, false if the caller is no holder.
local id, key = ARGV[5], session_key(ARGV[5])
local held = redis.call('HMGET', key, 'generation', 'from', 'cursor', 'behind', 'seen', 'repeats')
if not held[1] then return unknown(id) end
if held[1] ~= ARGV[6] then return false end
if held[2] == '' then return {held[3], held[4], held[5], held[6]} end
if ARGV[7] == '1' then skip(key, held[2], held[3], held[4]) end
return {}
