-- Read the caller's inbox.  ARGV: the number of the last notice that it has.
local last = redis.call('HGET', node_key(node), 'notices') or '0'
return redis.call('XRANGE', prefix .. 'inbox:' .. node, whole(tonumber(ARGV[5]) + 1), last)
