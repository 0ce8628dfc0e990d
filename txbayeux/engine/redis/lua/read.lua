-- Read a part of the log.  ARGV: first and last position; most entries.
return redis.call('XRANGE', log, ARGV[5], ARGV[6], 'COUNT', ARGV[7])
