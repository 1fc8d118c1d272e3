-- KEYS flights   ARGV channel, seen_ms, then per key: token, fence, result_id or ''
-- End the flights that are still ours (same token and fence). With a result_id the answer is not in the cache:
-- the flight stays for seen_ms and says where it is recorded. Those who wait are told over the channel.
local ended = 0
for i, key in ipairs(KEYS) do
  local token, fence, seen = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  local held = redis.call('HMGET', key, 'token', 'fence', 'waited')
  if held[1] == token and held[2] == fence then
    if seen ~= '' then
      redis.call('HSET', key, 'seen', seen)
      redis.call('PEXPIRE', key, ARGV[2])
    else
      redis.call('DEL', key)
    end
    if held[3] then redis.call('PUBLISH', ARGV[1], key) end
    ended = ended + 1
  end
end
return ended
