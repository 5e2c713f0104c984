-- The next samples of a model for the sidecar that holds it, and for nobody else. What is handed out for the first time
-- is captured by the same step, for whoever trains anew: so many bytes, of which the oldest make room.
--
-- KEYS  1 the lease; 2 the stream; 3 the stream of what is captured.
-- ARGV  1 the token that must hold the lease; 2 the group, which is its consumer's name as well; 3 how many;
--       4 '>' for new ones, or the id after which those that were handed out and not acknowledged are read again;
--       5 how many bytes are captured, 0 for none; 6 for how long at most, milliseconds.
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
if not said or said.err or ARGV[4] ~= '>' then
  return said
end
local most = tonumber(ARGV[5])
if most == 0 then
  redis.call('DEL', KEYS[3])
  return said
end

-- Each entry says how many bytes there were up to it, so that what is held is a difference.
local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
local total = newest and tonumber(newest[2][4]) or 0
for _, entry in ipairs(said[1][2]) do
  local blob = entry[2] and entry[2][1] == 'b' and entry[2][2]
  if blob then
    total = total + #blob
    redis.call('XADD', KEYS[3], '*', 'b', blob, 't', string.format('%.0f', total))
  end
end
local time = redis.call('TIME')
redis.call('XTRIM', KEYS[3], 'MINID', string.format('%.0f', time[1] * 1000 - ARGV[6]))
local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
while oldest and total - tonumber(oldest[2][4]) + #oldest[2][2] > most do
  redis.call('XDEL', KEYS[3], oldest[1])
  oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
end
redis.call('PEXPIRE', KEYS[3], ARGV[6])
return said
