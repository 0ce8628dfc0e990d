-- Remove entries that others appended to the log.  Returns the log's position.
local last = last_position()
if not last then return redis.error_reply('EPOCH the state is gone') end
remove_foreign(last)
return whole(last)
