-- The next samples of a model for the sidecar that holds it, and for nobody else.
--
-- KEYS  1 the lease; 2 the stream.
-- ARGV  1 the token that must hold the lease; 2 the group, which is its consumer's name as well; 3 how many;
--       4 '>' for new ones, or the id after which those that were handed out and not acknowledged are read again.
-- Answers what XREADGROUP does: nothing where there are none; 0 where the lease is another's. A stream that is not there,
-- or that expired, gets its group.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
local said = redis.pcall('XREADGROUP', 'GROUP', ARGV[2], ARGV[2], 'COUNT', ARGV[3], 'STREAMS', KEYS[2], ARGV[4])
if said and said.err and string.find(said.err, 'NOGROUP', 1, true) then
  redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[2], '0', 'MKSTREAM')
  return false
end
return said
