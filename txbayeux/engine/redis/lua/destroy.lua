-- End a session.  ARGV: session; reason; why, '' for nothing to tell; milliseconds to
-- remember that.  Its holder hears of it.
local id, why = ARGV[5], ARGV[7]
local owner = redis.call('HGET', session_key(id), 'owner')
if not owner then return unknown(id) end
redis.call('DEL', session_key(id))
redis.call('ZREM', expiry, id)
if why ~= '' then redis.call('SET', prefix .. 'farewell:' .. id, why, 'PX', ARGV[8]) end
if owner ~= '' then notify(owner, 'k', 'ended', 's', id, 'r', ARGV[6], 'w', why) end
return 1
