local now = tonumber(ARGV[1])
local timed = now == nil
if timed then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function write(key, whole_at)
  local text = string.format('%.0f', whole_at)
  if timed then
    redis.call('SET', key, text, 'PX', math.max(1, math.ceil((whole_at - now) / 1000)))
  else
    redis.call('SET', key, text)
  end
end

local wait, buckets = -1, {}
for place, key in ipairs(KEYS) do
  local emission, burst = tonumber(ARGV[2 * place]), tonumber(ARGV[2 * place + 1])
  local stored = tonumber(redis.call('GET', key) or now)
  -- A clock that went back must not lock anybody out until it has caught up.
  local whole_at = math.min(math.max(stored, now), now + burst)
  local charged = whole_at + emission
  if now < charged - burst then wait = math.max(wait, charged - burst - now) end
  buckets[place] = {emission, burst, whole_at, charged, stored}
end

local answer = {wait}
for place, key in ipairs(KEYS) do
  local emission, burst, whole_at, charged, stored = unpack(buckets[place])
  if wait < 0 then
    whole_at = charged
    write(key, charged)
  elseif stored > now + burst then
    write(key, now + burst)
  end
  answer[#answer + 1] = math.max(0, math.floor((now + burst - whole_at) / emission))
  answer[#answer + 1] = whole_at - now
end
return answer
