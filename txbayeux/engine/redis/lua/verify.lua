-- Find the sessions that the caller no longer holds.  ARGV: session and
-- generation of each that it believes to hold.  Gives the log's position, then those.
local lost = {whole(last_position() or 0)}
for i = 5, #ARGV, 2 do
  local held = redis.call('HMGET', session_key(ARGV[i]), 'owner', 'generation')
  if held[1] ~= front or held[2] ~= ARGV[i + 1] then lost[#lost + 1] = ARGV[i] end
end
return lost
