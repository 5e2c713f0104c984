-- One key's limits, shared by all workers: a token bucket, and who has how many requests in flight.
-- KEYS[1]: the hash. ARGV: worker, tokens wanted (below 0: given back), rate per second, bucket, requests in flight,
-- for how long what a worker said counts (ms). Answers: tokens granted, tokens left, requests in flight elsewhere.
local worker, want, rate, bucket = 'w:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local tokens, at, elsewhere, stale = bucket, now, 0, {}
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local name, value = held[i], held[i + 1]
  if name == 'tokens' then tokens = tonumber(value)
  elseif name == 'at' then at = tonumber(value)
  elseif name ~= worker then
    local count, said = string.match(value, '^(%d+):(%d+)$')
    if count and now - tonumber(said) < tonumber(ARGV[6]) then elsewhere = elsewhere + tonumber(count)
    else stale[#stale + 1] = name end
  end
end
tokens = math.min(bucket, tokens + math.max(0, now - at) * rate / 1000)
local granted = math.min(want, math.max(0, tokens))
if granted > 0 then granted = math.floor(granted * 1000) / 1000 end
tokens = math.min(bucket, tokens - granted)
redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens), 'at', string.format('%.3f', now),
  worker, string.format('%d:%d', tonumber(ARGV[5]), math.floor(now)))
if #stale > 0 then redis.call('HDEL', KEYS[1], unpack(stale)) end
local full = rate > 0 and bucket / rate * 1000 or 0
redis.call('PEXPIRE', KEYS[1], math.floor(math.min(full, 2592000000)) + 10000)
return {string.format('%.3f', granted), string.format('%.3f', tokens), elsewhere}
