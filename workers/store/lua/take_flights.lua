-- KEYS flights (hash: token, fence, waited, seen)   ARGV lease_ms, then per key: token, fence
-- Per key one of: 'own' (the call is ours), 'wait' (someone else is at it), or 'see:RESULT_ID' (the answer is
-- recorded but not cached). Taking again by the same token gives the same answer, so a repeated EVAL does no
-- harm; a later fence of the same token takes over from its own dead lease at once.
local out = {}
for i, key in ipairs(KEYS) do
  local token, fence = ARGV[2 * i], tonumber(ARGV[2 * i + 1])
  local held = redis.call('HMGET', key, 'token', 'fence', 'seen')
  if held[3] then
    out[i] = 'see:' .. held[3]
  elseif not held[1] or (held[1] == token and tonumber(held[2]) <= fence) then
    redis.call('HSET', key, 'token', token, 'fence', fence)
    redis.call('PEXPIRE', key, ARGV[1])
    out[i] = 'own'
  else
    redis.call('HSET', key, 'waited', 1)
    out[i] = 'wait'
  end
end
return out
