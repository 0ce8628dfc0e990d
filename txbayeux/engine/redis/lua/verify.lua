-- Find sessions that the caller no longer owns.  ARGV: session and generation of each
-- that it believes it owns.  Returns a mark for the caller, then those
-- sessions.
local lost = {mark(node)}
for i = 5, #ARGV, 2 do
  local session = session_fields(ARGV[i], 'owner', 'generation')
  if session[1] ~= node or session[2] ~= ARGV[i + 1] then lost[#lost + 1] = ARGV[i] end
end
return lost
