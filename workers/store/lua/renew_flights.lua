-- KEYS flights   ARGV lease_ms, then per key: token, fence
-- Extend the flights that are still ours; the number of them.
local renewed = 0
for i, key in ipairs(KEYS) do
  local held = redis.call('HMGET', key, 'token', 'fence')
  if held[1] == ARGV[2 * i] and held[2] == ARGV[2 * i + 1] then
    redis.call('PEXPIRE', key, ARGV[1])
    renewed = renewed + 1
  end
end
return renewed
