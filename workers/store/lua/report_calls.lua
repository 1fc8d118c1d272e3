-- KEYS[1] limit  KEYS[2] calls  KEYS[3] lanes  KEYS[4] grant, then of each tenant told of: tenant_limit, tenant_calls
--      (forms: store/keys.py)
-- ARGV number, holder, tokens_per_minute (0: none), tokens used minus reserved, pause_ms (0: none), holder_ms,
--      outstanding_tokens, in_flight {MODEL: n}, lanes [[MODEL, answered, throttled, failed], ...],
--      allowances [[KIND, limit, left, step_ms, fresh_ms], ...], breaker [failures, open_ms, max_open_ms]; JSON; with tenants
--      [[field, in_flight, [[BUCKET, by_ms], ...]], ...]: a bucket is full by so much later, or earlier
-- Take in what a process saw: lanes as core/aimd.py and core/breaker.py say, tokens settled by true usage, a pause
-- that shortens no longer one, what the provider says is left, and the calls under way. Once: a number that is
-- not above the holder's last one changes nothing. 1 if it was taken in.
local said = redis.call('GET', KEYS[4])
if said and tonumber(string.match(said, '^%d+')) >= tonumber(ARGV[1]) then return 0 end
local t = redis.call('TIME'); local now = t[1] * 1000 + t[2] / 1000
local ms, holder, holders = math.floor(now), ARGV[2], redis.call('HGETALL', KEYS[2])
local own, was_own, others, calls, tokens = cjson.decode(ARGV[8]), {}, {}, 0, tonumber(ARGV[7])
for i = 1, #holders, 2 do
  local till, held_tokens, counts = string.match(holders[i + 1], '^(%d+) (%d+) (.*)$')
  if tonumber(till) <= now then
    redis.call('HDEL', KEYS[2], holders[i])
  elseif holders[i] == holder then
    was_own = cjson.decode(counts)
  else
    tokens = tokens + held_tokens
    for model, count in pairs(cjson.decode(counts)) do
      others[model] = (others[model] or 0) + count
      calls = calls + count
    end
  end
end
for _, count in pairs(own) do calls = calls + count end
redis.call('HSET', KEYS[2], holder, string.format('%.0f %s %s', now + ARGV[6], ARGV[7], ARGV[8]))
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('SET', KEYS[4], ARGV[1] .. ' ', 'PX', 60000)

local function answered(s, count)
  s.refusals = 0
  s.answers = s.answers + count
  if ms - s.eased_ms >= 1000 then
    s.gap_ms = s.gap_ms * 0.95
    if s.gap_ms < 5 then s.gap_ms = 0 end
    s.eased_ms = ms
  end
  if s.ramping then
    if s.started then s.ramp = s.ramp + 2 * count end
    s.ramping = s.ramp < s.concurrency
  elseif s.concurrency > 0 and s.gap_ms == 0 then
    s.grown = s.grown + count
    if s.grown >= s.concurrency then s.grown = 0; s.concurrency = s.concurrency + 1 end
  end
  if s.concurrency > s.peak then
    s.concurrency = 0; s.grown = 0; s.peak = 0; s.rest_till_ms = 0; s.next_ms = 0
  end
end
local function refused(s, in_flight)
  if s.concurrency > 0 and not (s.started and ms - s.cut_ms >= 1000) then return end
  local was = math.max(1, s.concurrency > 0 and math.min(in_flight, s.concurrency) or in_flight)
  if was <= 4 then
    local gap = math.max(2 * s.gap_ms, 500)
    if s.answers > 0 then gap = math.min(gap, (ms - s.cut_ms) / s.answers) end
    s.gap_ms = math.min(math.max(gap, s.gap_ms), 60000)
  end
  s.peak = math.max(s.peak, was)
  s.concurrency = math.max(1, math.floor(was / 2))
  s.cut_ms = ms; s.grown = 0; s.answers = 0
  s.started = s.started and s.refusals > 0
end
local function rest(s, doubled)
  s.ramping = s.concurrency > 1; s.ramp = 1
  if s.refusals > 0 and (ms < s.rest_till_ms or not s.started) then return end
  if doubled then s.refusals = s.refusals + 1 end
  s.started = false
  s.rest_till_ms = ms + math.min(500 * 2 ^ math.max(0, s.refusals - 1), 60000)
end
local function throttle(s, in_flight, answers, refusals)
  if answers > 0 then answered(s, answers) end
  if refusals == 0 then return end
  refused(s, in_flight)
  if 2 * refusals >= in_flight or (s.refusals > 0 and answers == 0) then rest(s, answers == 0) end
end

local rules = cjson.decode(ARGV[11])
local function open(b)
  b.opened = b.opened + 1
  b.probe = ''
  b.open_till_ms = ms + math.min(rules[2] * 2 ^ math.min(b.opened - 1, 30), rules[3])
end
local function breaker(b, alive, failed)
  if alive > 0 then
    b.failures = 0; b.opened = 0; b.open_till_ms = 0; b.probe = ''
  elseif failed > 0 and b.open_till_ms > 0 then
    if b.probe ~= '' then open(b) end
  elseif failed > 0 then
    b.failures = b.failures + failed
    if b.failures >= rules[1] then open(b) end
  end
end

for _, seen in ipairs(cjson.decode(ARGV[9])) do
  local model, answers, refusals, failed = unpack(seen)
  local kept = redis.call('HGET', KEYS[3], model)
  local state = kept and cjson.decode(kept)
  if state and ms - state.seen >= 900000 then state = nil end
  if not state and refusals + failed > 0 then
    state = {breaker = {failures = 0, opened = 0, open_till_ms = 0, probe = ''}, throttle = {
      concurrency = 0, ramping = false, ramp = 0, refusals = 0, rest_till_ms = 0, gap_ms = 0, next_ms = 0, cut_ms = 0,
      started = false, peak = 0, grown = 0, answers = 0, eased_ms = 0}}
  end
  if state then
    -- The calls that this report ended were under way when the refusals came; the old count may know them.
    local mine = math.max(was_own[model] or 0, (own[model] or 0) + refusals)
    throttle(state.throttle, (others[model] or 0) + mine, answers, refusals)
    breaker(state.breaker, answers + refusals, failed)
    state.seen = ms
    if state.throttle.concurrency + state.breaker.failures + state.breaker.opened > 0 then
      redis.call('HSET', KEYS[3], model, cjson.encode(state))
      redis.call('PEXPIRE', KEYS[3], 1800000)
    else
      redis.call('HDEL', KEYS[3], model)
    end
  end
end

local stored, longest = false, now
if tonumber(ARGV[3]) > 0 and tonumber(ARGV[4]) ~= 0 then
  local tat = redis.call('HGET', KEYS[1], 'tokens')
  if tat then
    tat = tonumber(tat) + 60000 / ARGV[3] * ARGV[4]
    redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tat))
    stored, longest = true, math.max(longest, tat)
  end
end
if tonumber(ARGV[5]) > 0 then
  local till = math.max(tonumber(redis.call('HGET', KEYS[1], 'paused') or 0), now + ARGV[5])
  redis.call('HSET', KEYS[1], 'paused', string.format('%.17g', till))
  stored, longest = true, math.max(longest, till)
end
for _, allowance in ipairs(cjson.decode(ARGV[10])) do
  local kind, limit, left, step, fresh = unpack(allowance)
  -- Some of the calls under way are counted in what is left and some are not: take it that none is.
  local free = math.max(0, left - (kind == 'tokens' and tokens or calls))
  local tat = now + step * (limit - free)
  redis.call('HSET', KEYS[1], 'learned_' .. kind, string.format('%.17g %.17g %.17g %.17g', step, limit, now + fresh, tat))
  stored = true
end
for i, told in ipairs(ARGV[12] and cjson.decode(ARGV[12]) or {}) do
  local limit_key, calls_key, field, in_flight = KEYS[3 + 2 * i], KEYS[4 + 2 * i], told[1], told[2]
  for _, shift in ipairs(told[3]) do
    local tat = redis.call('HGET', limit_key, shift[1])
    if tat then
      tat = tonumber(tat) + shift[2]
      redis.call('HSET', limit_key, shift[1], string.format('%.17g', tat))
      local kept_ms = math.ceil(3600000 + tat - now)
      if redis.call('PTTL', limit_key) < kept_ms then redis.call('PEXPIRE', limit_key, kept_ms) end
    end
  end
  if in_flight > 0 then
    redis.call('HSET', calls_key, field, string.format('%.0f %.0f', now + ARGV[6], in_flight))
    redis.call('PEXPIRE', calls_key, ARGV[6])
  else
    redis.call('HDEL', calls_key, field)
  end
end
local idle_ms = math.ceil(3600000 + longest - now)
if stored and redis.call('PTTL', KEYS[1]) < idle_ms then redis.call('PEXPIRE', KEYS[1], idle_ms) end
return 1
