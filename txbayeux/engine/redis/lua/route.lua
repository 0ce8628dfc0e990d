-- What scripts need that send to the feeds of nodes; after head.lua.
-- The hash `nodes` has the position of the last entry that was sent to each node; the hash
-- `interest` has, for each channel or pattern, "node:position:number " of each node that wants it.  Both
-- exist as soon as a node has registered.
local nodes, interest = prefix .. 'nodes', prefix .. 'interest'

-- Publish on the feed of a node: texts with a NUL between them, which is in none of them.
local function publish(to, texts)
  redis.call('PUBLISH', string.sub(KEYS[1], 1, -6) .. 'feed:' .. to, table.concat(texts, '\0'))
end

-- Return the position of the last entry that was sent to a node, false if Redis does not know
-- what the node wants.  If others removed `interest`, every node registers anew.
local function last_sent_to(id)
  if redis.call('HEXISTS', interest, id) == 0 then redis.call('HDEL', nodes, id) end
  return redis.call('HGET', nodes, id)
end
