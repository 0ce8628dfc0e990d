-- Ends a script that appends: records where the log ends, trims it to `most_octets` and
-- `most_entries`, publishes what was sent to each node, and returns `result`.  All of it stands
-- here and not in functions, because each function costs a publish 0.15 µs.
if position > opened then
  redis.call('HSET', state, 'position', at, 'octets', whole(octets), 'token', token)
  -- At each sixteenth entry: it costs a tenth of a publish.
  if position % 16 < position - opened then trim('retained_messages', 'MAXLEN', '~', most_entries) end
  -- At each sixteenth of `most_octets`, a mark with the position and `octets` is recorded:
  -- everything up to a mark that is `most_octets` old is dropped.
  if octets >= due then
    local marks, oldest = {}, nil
    local recorded = redis.call('HGET', state, 'marks') or ''
    for place, total in string.gmatch(recorded, '(%d+):(%d+)') do
      if octets - tonumber(total) >= most_octets then
        oldest = place
      else
        marks[#marks + 1] = place .. ':' .. total
      end
    end
    marks[#marks + 1] = at .. ':' .. whole(octets)
    redis.call('HSET', state, 'marks', table.concat(marks, ' '), 'due', whole(octets + most_octets / 16))
    if oldest then trim('retained_bytes', 'MINID', '~', whole(oldest + 1)) end
  end
  -- Every key has a time to live from the start; living nodes renew it.
  if opened == 0 then redis.call('PEXPIRE', log, 3600000) end
  -- To each node: the log's position, the entry that was sent to it before, and the entries.
  for to, feed in pairs(feeds) do
    local previous = redis.call('HGET', nodes, to)
    if previous then
      feed[2], feed[3] = at, previous
      publish(to, feed)
      redis.call('HSET', nodes, to, last_sent[to])
    end
  end
end
return result
