-- Record that everything is registered which the caller wants.  Returns a mark for the caller.
if redis.call('HGET', node_key(node), 'token') ~= token then
  return redis.error_reply('STALE given up')
end
if redis.call('HEXISTS', nodes, node) == 1 then
  -- What came before was not sent, and yet the caller may need it: see skip_unsent.
  redis.call('HSET', nodes, node, redis.call('HGET', state, 'position'))
  redis.call('HDEL', node_key(node), 'incomplete')
end
return {mark(node)}
