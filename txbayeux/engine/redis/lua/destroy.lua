-- End a session.  ARGV: session; reason; text for the client, or ''; the tombstone's time
-- to live in milliseconds; '' or the generation under which the caller must own it, or must
-- have owned it just before: while the owner waits for the caller's release, only the caller
-- knows what the session has received.
-- Returns 1 and the subscriptions; 0 if the caller does not own it, and nothing was done.
local id, why = ARGV[5], ARGV[7]
local session = session_fields(id, 'owner', 'generation', 'from')
local owner = session[1]
if not owner then return unknown(id) end
if ARGV[9] ~= '' and (owner ~= node or session[2] ~= ARGV[9])
    and session[3] ~= node .. ':' .. ARGV[9] then
  return {0}
end
local result = {1}
add_subscriptions(result, id)
redis.call('DEL', session_key(id))
redis.call('ZREM', expiry, id)
if why ~= '' then redis.call('SET', prefix .. 'tombstone:' .. id, why, 'PX', ARGV[8]) end
if owner ~= '' then notify(owner, 'k', 'ended', 's', id, 'r', ARGV[6], 'w', why) end
return result
