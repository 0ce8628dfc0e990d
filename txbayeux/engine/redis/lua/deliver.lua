-- Append a message for one session.  ARGV: session; channel; JSON; most bytes
-- and entries of the log to keep.
-- Returns its position, and that of the last entry that was sent to the caller, or 0.
local id = ARGV[5]
local session = session_fields(id, 'owner', 'from')
if not session[1] then return unknown(id) end
local entry = append(#ARGV[6] + #ARGV[7] + #id, 'c', ARGV[6], 'j', ARGV[7], 't', id)
for _, to in ipairs(followers(session[1], session[2] or '')) do send(to, entry) end
local most_octets, most_entries = tonumber(ARGV[8]), ARGV[9]
local result = {at, last_sent[node] or 0}
