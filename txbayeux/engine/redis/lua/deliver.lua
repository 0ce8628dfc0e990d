-- Append a message for one session.  ARGV: session; channel; JSON.
-- Returns its position.
local id = ARGV[5]
if redis.call('EXISTS', session_key(id)) == 0 then return unknown(id) end
local position = last_position() + 1
append(position, 'c', ARGV[6], 'j', ARGV[7], 't', id)
return whole(position)
