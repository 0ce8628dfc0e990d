-- Withdraw the options of a node that stops, and forget it.  ARGV: its text of them.
-- If another node has the same, its next heartbeat records them again.
if redis.call('HGET', state, 'options') == ARGV[5] then redis.call('HDEL', state, 'options') end
forget_node(node)
return 1
