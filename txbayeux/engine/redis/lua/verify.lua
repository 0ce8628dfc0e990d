-- Find sessions that the caller no longer owns.  ARGV: session and generation of each
-- that it believes it owns.  Returns the log's position, then those sessions.
local lost = {whole(last_position() or 0)}
for i = 5, #ARGV, 2 do
  local session = session_fields(ARGV[i], 'owner', 'generation')
  if session[1] ~= node or session[2] ~= ARGV[i + 1] then lost[#lost + 1] = ARGV[i] end
end
return lost
