-- KEYS[1] limit  KEYS[2] calls  KEYS[3] lanes  KEYS[4] grant  (forms: store/keys.py)
-- ARGV number, holder, requests_per_minute (0: none), request_burst, tokens_per_minute, token_burst, concurrency,
--      ahead_ms, holder_ms, outstanding_tokens, in_flight {MODEL: n} as JSON, the same if everything is granted,
--      asks, their tokens together, runs 'COUNT:MODEL,...', tokens 'n,n,...', then the models that runs count from 1
-- KEYS[5] tenant_limit  KEYS[6] tenant_calls, where the tenant whose calls these are has limits. Then the last ARGV is
--      {buckets [[FIELD, counts_tokens, per_minute, burst], ...], concurrency (0: none), field, in_flight, most_tokens
--      of one ask, tokens of all asks} as JSON. What either refuses takes nothing of the other.
-- Permit asks in order, as the pause, the lanes, concurrency and all buckets (core/gcra.py, aimd.py, breaker.py)
-- allow, at most ahead_ms ahead. Reply 'VERDICT*COUNT,...': a wait in ms for a permitted call; p, w, g, l, c or b
-- before it for one that is refused by a pause, its lane's rest or gap, a limit, concurrency or the breaker; R, T or C
-- by its tenant's requests, tokens or concurrency.
-- A holder's numbers only grow: the same one has the same reply and takes nothing twice, an older one has none,
-- since its asker has given it up. Redis's clock decides. Without the hash Redis forgot: no bucket has a burst.
local said = redis.call('GET', KEYS[4])
if said then
  local number, reply = string.match(said, '^(%d+) (.*)$')
  if number == ARGV[1] then return reply end
  if tonumber(number) > tonumber(ARGV[1]) then return '' end
end
local t = redis.call('TIME'); local now = t[1] * 1000 + t[2] / 1000
local holder, asked, all_tokens = ARGV[2], tonumber(ARGV[13]), tonumber(ARGV[14])
local concurrency = tonumber(ARGV[7])
local tenant, granted = KEYS[5] and cjson.decode(ARGV[#ARGV]), 0
local last_model = #ARGV - (tenant and 1 or 0)

local function finish(reply, counts, tokens)
  if tenant and tenant.concurrency > 0 then
    redis.call('HSET', KEYS[6], tenant.field, string.format('%.0f %.0f', now + ARGV[9], tenant.in_flight + granted))
    redis.call('PEXPIRE', KEYS[6], ARGV[9])
  end
  redis.call('HSET', KEYS[2], holder, string.format('%.0f %.0f %s', now + ARGV[9], tokens, counts))
  redis.call('PEXPIRE', KEYS[2], ARGV[9])
  redis.call('SET', KEYS[4], ARGV[1] .. ' ' .. reply, 'PX', 60000)
  return reply
end

local kept = redis.call('HMGET', KEYS[1], 'paused', 'requests', 'tokens', 'learned_requests', 'learned_tokens')
local paused = tonumber(kept[1] or 0) - now
if paused > 0 then return finish('p' .. math.ceil(paused) .. '*' .. asked, ARGV[11], ARGV[10]) end

local buckets = {}
local function bucket(field, by_tokens, step, burst, tat)
  tat = math.max(tat, now)
  buckets[#buckets + 1] = {field = field, by_tokens = by_tokens, step = step, burst = burst, tat = tat}
end
for i, field in ipairs({'requests', 'tokens'}) do
  local per_minute, burst = tonumber(ARGV[1 + 2 * i]), tonumber(ARGV[2 + 2 * i])
  if per_minute > 0 then
    local step = 60000 / per_minute
    bucket(field, i == 2, step, burst, tonumber(kept[1 + i]) or now + step * (burst - (2 - i)))
  end
  local step, size, till, tat = string.match(kept[3 + i] or '', '^(%S+) (%S+) (%S+) (%S+)$')
  if step and now < tonumber(till) then
    bucket('learned_' .. field, i == 2, tonumber(step), tonumber(size), tonumber(tat))
    buckets[#buckets].head = step .. ' ' .. size .. ' ' .. till .. ' '
  end
end
local calls_of_tenant = 0
if tenant then
  for _, kept_bucket in ipairs(tenant.buckets) do
    local field, by_tokens, per_minute, burst = unpack(kept_bucket)
    local step, tat = 60000 / per_minute, redis.call('HGET', KEYS[5], field)
    bucket(field, by_tokens, step, burst, tonumber(tat) or now + step * (burst - (by_tokens and 0 or 1)))
    buckets[#buckets].key, buckets[#buckets].word = KEYS[5], by_tokens and 'T' or 'R'
  end
  local holders = tenant.concurrency > 0 and redis.call('HGETALL', KEYS[6]) or {}
  for i = 1, #holders, 2 do
    local till, count = string.match(holders[i + 1], '^(%d+) (%d+)$')
    if tonumber(till) <= now then
      redis.call('HDEL', KEYS[6], holders[i])
    elseif holders[i] ~= tenant.field then
      calls_of_tenant = calls_of_tenant + count
    end
  end
  calls_of_tenant = calls_of_tenant + tenant.in_flight
end
local function tenant_takes(more)
  return not tenant or tenant.concurrency == 0 or calls_of_tenant + more <= tenant.concurrency
end
local function cost(b, tokens, of_tenant, requests)
  return b.by_tokens and (b.key and of_tenant or tokens) or requests
end
local fits = true
for _, b in ipairs(buckets) do
  fits = fits and b.tat + b.step * (cost(b, all_tokens, tenant and tenant.tokens, asked) - b.burst) <= now
end
local function take(at, tokens, of_tenant, requests)
  for _, b in ipairs(buckets) do b.tat = math.max(b.tat, at) + b.step * cost(b, tokens, of_tenant, requests) end
end
local function keep_buckets()
  local longest = {}
  for _, b in ipairs(buckets) do
    local key = b.key or KEYS[1]
    redis.call('HSET', key, b.field, (b.head or '') .. string.format('%.17g', b.tat))
    longest[key] = math.max(longest[key] or now, b.tat)
  end
  for key, till in pairs(longest) do redis.call('PEXPIRE', key, math.ceil(3600000 + till - now)) end
end

-- Lanes that are throttled or broken; and where it matters what all holders have under way.
local lanes, troubled = {}, false
local ms = math.floor(now)
for i, kept_lane in ipairs(redis.call('HMGET', KEYS[3], unpack(ARGV, 17, last_model))) do
  lanes[i] = {model = ARGV[16 + i], calls = 0}
  local state = kept_lane and cjson.decode(kept_lane)
  -- Failures that have not opened the breaker stop nobody.
  local stops = state and state.throttle.concurrency + state.breaker.open_till_ms > 0
  if stops and ms - state.seen < 900000 then lanes[i].state = state; troubled = true end
end
local total, own, others = 0, nil, {}
if troubled or concurrency > 0 then
  own = cjson.decode(ARGV[11])
  local holders = redis.call('HGETALL', KEYS[2])
  for i = 1, #holders, 2 do
    local till, counts = string.match(holders[i + 1], '^(%d+) %d+ (.*)$')
    if tonumber(till) <= now then
      redis.call('HDEL', KEYS[2], holders[i])
    elseif holders[i] ~= holder then
      others[holders[i]] = cjson.decode(counts)
    end
  end
  others[holder] = own  -- the same table: what is granted below counts at once
  for _, counts in pairs(others) do
    for _, calls in pairs(counts) do total = total + calls end
    for _, lane in ipairs(lanes) do lane.calls = lane.calls + (counts[lane.model] or 0) end
  end
end
if fits and not troubled and (concurrency == 0 or total + asked <= concurrency) and tenant_takes(asked) then
  take(now, all_tokens, tenant and tenant.tokens, asked)
  keep_buckets()
  granted = asked
  return finish('0*' .. asked, ARGV[12], ARGV[10] + all_tokens)
end

local function lane_says_no(lane)
  local breaker, throttle = lane.state.breaker, lane.state.throttle
  if ms < breaker.open_till_ms then return 'b' .. breaker.open_till_ms - ms end
  if breaker.open_till_ms > 0 and breaker.probe ~= '' then
    local of_probe = others[breaker.probe] or {}
    if (of_probe[lane.model] or 0) > 0 then return 'b1000' end
  end
  if ms < throttle.rest_till_ms then return 'w' .. throttle.rest_till_ms - ms end
  if ms < throttle.next_ms then return 'g' .. math.ceil(throttle.next_ms - ms) end
  if throttle.concurrency > 0 and lane.calls >= throttle.concurrency then return 'c250' end
  if throttle.ramping and throttle.ramp <= 0 and lane.calls > 0 then return 'c250' end
end
local function lane_starts(lane)
  local breaker, throttle = lane.state.breaker, lane.state.throttle
  if breaker.open_till_ms > 0 then breaker.probe = holder end
  throttle.started = true
  if throttle.ramping then throttle.ramp = throttle.ramp - 1 end
  if throttle.gap_ms > 0 then throttle.next_ms = ms + throttle.gap_ms end
end

local verdicts, last, times = {}, nil, 0
local function flush() if last then verdicts[#verdicts + 1] = last .. '*' .. times end end
local function say(word)
  if word ~= last then flush(); last, times = word, 0 end
  times = times + 1
end
own = own or cjson.decode(ARGV[11])
local latest, stop = now + ARGV[8], nil
local function ask(lane, tokens)
  if stop then return stop end
  local word = lane.state and lane_says_no(lane)
  if word then return word end
  -- What follows holds for whoever asks at this provider for this tenant, so nobody behind is asked any more.
  if concurrency > 0 and total >= concurrency then stop = 'c250'; return stop end
  if not tenant_takes(1) then stop = 'C250'; return stop end
  local at, kind, of_tenant = now, 'l', tenant and math.min(tokens, tenant.most_tokens)
  for _, b in ipairs(buckets) do
    local free = b.tat + b.step * (math.min(cost(b, tokens, of_tenant, 1), b.burst) - b.burst)
    if free > at then at, kind = free, b.word or 'l' end
  end
  if at > latest then stop = kind .. math.ceil(at - now); return stop end
  take(at, tokens, of_tenant, 1)
  if lane.state then lane_starts(lane) end
  total, lane.calls = total + 1, lane.calls + 1
  granted, calls_of_tenant = granted + 1, calls_of_tenant + 1
  own[lane.model] = (own[lane.model] or 0) + 1
  return tostring(math.ceil(at - now))
end
local outstanding, costs = tonumber(ARGV[10]), string.gmatch(ARGV[16], '%d+')
for count, number in string.gmatch(ARGV[15], '(%d+):(%d+)') do
  for _ = 1, tonumber(count) do
    local tokens = tonumber(costs())
    local word = ask(lanes[tonumber(number)], tokens)
    if tonumber(word) then outstanding = outstanding + tokens end
    say(word)
  end
end
flush()
for _, lane in ipairs(lanes) do
  if lane.state then redis.call('HSET', KEYS[3], lane.model, cjson.encode(lane.state)) end
end
keep_buckets()
return finish(table.concat(verdicts, ','), cjson.encode(own), outstanding)
