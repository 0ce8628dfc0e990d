-- Hand on messages that could not be delivered for a session that another node owns.
-- ARGV: session; the generation that it was to be delivered with; positions; '1' if the
-- caller owns the session but has not opened it.  Returns 1 if the session exists.
return hand_on(ARGV[5], ARGV[6], ARGV[7], ARGV[8] == '1')
