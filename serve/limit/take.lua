-- One take: charges every window, or none. KEYS are the windows; ARGV holds the
-- count and the length in microseconds of each. A key holds the level of its
-- window and when that was, as serve/limit/cell.go describes it; the clock is
-- this server's, so that the nodes' clocks may differ. Numbers are doubles, exact
-- while count times length is below 2^53 (100,000 a day), and off by less than
-- one call above that.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local levels = {}
local fits = 1
for i, key in ipairs(KEYS) do
  local count, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local level = 0
  local held = redis.call('GET', key)
  if held then
    local l, last = string.match(held, '^(%d+):(%d+)$')
    if not l then
      return redis.error_reply('a limit holds something else: is the prefix shared?')
    end
    level = math.max(tonumber(l) - math.max(now - tonumber(last), 0) * count, 0)
  end
  levels[i] = level
  if level + window > window * count then
    fits = 0
  end
end
local out = { tostring(fits) }
for i, key in ipairs(KEYS) do
  local count, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  if fits == 1 then
    levels[i] = levels[i] + window
    local lasts = math.ceil(levels[i] / count / 1000) + 1
    redis.call('SET', key, string.format('%.0f:%.0f', levels[i], now), 'PX', string.format('%.0f', lasts))
  end
  out[i + 1] = string.format('%.0f', levels[i])
end
return out
