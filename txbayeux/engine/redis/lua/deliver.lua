-- Append a message for one session.  ARGV: session; channel; JSON; most bytes
-- and entries of the log to keep.
-- Returns its position.
local id = ARGV[5]
if redis.call('EXISTS', session_key(id)) == 0 then return unknown(id) end
open_log()
append(#ARGV[6] + #ARGV[7] + #id, 'c', ARGV[6], 'j', ARGV[7], 't', id)
close_log(ARGV[8], ARGV[9])
return whole(position)
