-- Check whether the former owner has released a session; with '1' at the end, the caller
-- continues if it has not.  ARGV: session; generation; '1' or ''.  Returns a mark for the
-- caller, cursor, behind, seen and repeats; an empty list if it has not; false if the caller is
-- not the owner.
local id, key = ARGV[5], session_key(ARGV[5])
local session = session_fields(id, 'generation', 'from', 'cursor', 'behind', 'seen', 'repeats')
if not session[1] then return unknown(id) end
if session[1] ~= ARGV[6] then return false end
if session[2] == '' then
  local at, entry, sent = mark(node)
  return {at, entry, sent, session[3], session[4], session[5], session[6]}
end
if ARGV[7] == '1' then skip(key, session[2], session[3], session[4]) end
return {}
