-- The generic cell rate algorithm (ITU-T I.371, 1996) as virtual scheduling, over several buckets at once.
--
-- KEYS[i] the bucket's theoretical arrival time, in µs; it is not there while the bucket is full.
-- ARGV[3i-2] µs between requests, ARGV[3i-1] how many at once, ARGV[3i] how many this request counts.
--
-- Answers four numbers for each bucket: 1 if it had room, else 0; how many more it has room for; µs until it has
-- room for this request, or -1 for never; µs until it is full. If one bucket has no room, none is counted.
-- Time is the server's, and stands still within a script.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local arrivals, intervals, depths, hits = {}, {}, {}, {}
local room = true

for i, key in ipairs(KEYS) do
  intervals[i], hits[i] = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i])
  depths[i] = intervals[i] * tonumber(ARGV[3 * i - 1])
  -- A clock that was set back, or a limit that was lowered, must not shut a bucket for longer than it is deep.
  arrivals[i] = math.min(math.max(tonumber(redis.call('GET', key)) or now, now), now + depths[i])
  -- Half a µs: arrival times are kept as whole ones.
  if arrivals[i] + intervals[i] * hits[i] > now + depths[i] + 0.5 then
    room = false
  end
end

local answer = {}
for i, key in ipairs(KEYS) do
  local cost = intervals[i] * hits[i]
  local wait = math.max(0, arrivals[i] + cost - now - depths[i])
  local allowed = wait <= 0.5
  if cost > depths[i] + 0.5 then
    wait = -1
  end
  if room and hits[i] > 0 then
    arrivals[i] = arrivals[i] + cost
    redis.call('SET', key, string.format('%.0f', arrivals[i]),
      'PX', string.format('%.0f', math.ceil((arrivals[i] - now) / 1000) + 1))
  end
  answer[4 * i - 3] = allowed and 1 or 0
  answer[4 * i - 2] = math.floor((now + depths[i] - arrivals[i]) / intervals[i] + 0.001)
  answer[4 * i - 1] = allowed and 0 or math.ceil(wait)
  answer[4 * i] = math.ceil(arrivals[i] - now)
end
return answer
