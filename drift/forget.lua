-- Forgets a model of which nothing is left, for the sidecar that holds it.
--
-- KEYS  1 the lease; 2 the stream of samples; 3 the models that have one; 4 statuses; 5 the model's keepers;
--       6 what is captured of it.
-- ARGV  1 the token that must hold the lease; 2 the model's name.
-- Answers 1 where it is forgotten, and 0 where the lease is another's, a sample waits, or something is told of a version.

if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('XLEN', KEYS[2]) > 0 then
  return 0
end
local begin = ARGV[2] .. '/'
for _, field in ipairs(redis.call('HKEYS', KEYS[4])) do
  if string.sub(field, 1, #begin) == begin and not string.find(field, '/', #begin + 1, true) then
    return 0
  end
end
redis.call('DEL', KEYS[2], KEYS[5], KEYS[6], KEYS[1])
redis.call('SREM', KEYS[3], ARGV[2])
return 1
