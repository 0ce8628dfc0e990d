-- Pass undelivered messages of a session to the node that owns it now.
-- ARGV: session; the generation whose owner could not deliver them; positions; '1' if the
-- caller owns the session but has not loaded it.  Returns 1 if the session exists.
return forward(ARGV[5], ARGV[6], ARGV[7], ARGV[8] == '1')
