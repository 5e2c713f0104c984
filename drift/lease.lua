-- Takes the lease of a model where nobody holds it; asked again by the token that has it, it stays that one's.
--
-- KEYS  1 the lease.
-- ARGV  1 the token; 2 for how long, milliseconds.
-- Answers 1 where the token holds it now, 0 where another one does.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
