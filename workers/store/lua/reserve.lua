-- KEYS[1] limit (hash: requests, tokens, paused)   KEYS[2] grant (string, 10 s)
-- ARGV requests_per_minute (0: none), request_burst, tokens_per_minute (0: none), token_burst, ahead_ms,
--      then per wanted request its estimated tokens
-- Grant as many of the wanted requests, in order, as both limits (GCRA) allow within ahead_ms from now.
-- Reply {wait_ms until the next one not granted could go, then per granted request its own wait_ms}.
-- KEYS[2] names the reservation: the same one gives the same reply, so a repeated EVAL takes nothing twice.
-- Without the hash Redis has forgotten: the buckets start without burst. Redis's clock decides.
local done = redis.call('GET', KEYS[2])
if done then return cjson.decode(done) end
local t = redis.call('TIME'); local now = t[1] * 1000 + t[2] / 1000
local h = redis.call('HMGET', KEYS[1], 'requests', 'tokens', 'paused')
local rpm, rburst, tpm, tburst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local latest = now + tonumber(ARGV[5])
local paused = tonumber(h[3] or 0)
local rstep, tstep = rpm > 0 and 60000 / rpm or 0, tpm > 0 and 60000 / tpm or 0
-- tat is the theoretical arrival time; what is `span` ahead of the clock has used the whole burst.
local rspan, tspan = rstep * (rburst - 1), tstep * tburst
local rtat = math.max(tonumber(h[1] or now + rspan), now)
local ttat = math.max(tonumber(h[2] or now + tspan), now)
local reply = {0}
for i = 6, #ARGV do
  local tokens = tonumber(ARGV[i])
  local at = math.max(now, paused)
  if rpm > 0 then at = math.max(at, rtat - rspan) end
  -- A request larger than the whole burst waits for a full bucket and then goes into debt.
  if tpm > 0 then at = math.max(at, ttat + tstep * math.min(tokens, tburst) - tspan) end
  if at > latest then reply[1] = math.ceil(at - now); break end
  reply[#reply + 1] = math.ceil(at - now)
  if rpm > 0 then rtat = math.max(rtat, at) + rstep end
  if tpm > 0 then ttat = math.max(ttat, at) + tstep * tokens end
end
redis.call('HSET', KEYS[1], 'requests', rtat, 'tokens', ttat)
redis.call('PEXPIRE', KEYS[1], math.ceil(120000 + math.max(0, rtat - now, ttat - now, paused - now)))
redis.call('SET', KEYS[2], cjson.encode(reply), 'PX', 10000)
return reply
