-- Find the sessions that the caller no longer holds.  ARGV: session and
-- generation of each that it believes to hold.
local lost = {}
for i = 5, #ARGV, 2 do
  local held = redis.call('HMGET', session_key(ARGV[i]), 'owner', 'generation')
  if held[1] ~= front or held[2] ~= ARGV[i + 1] then lost[#lost + 1] = ARGV[i] end
end
return lost
