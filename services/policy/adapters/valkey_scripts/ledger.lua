-- The ledger of one tenant. This file stands before each of the other scripts.
--
-- KEYS[1] state: a hash of
--     used      tokens settled in the window
--     reserved  tokens held by the members of KEYS[2]
--     window    when the window ends, in ms
-- KEYS[2] leases: a sorted set; member "<tokens>:<reservation id>", score the end of its lease in ms
-- KEYS[3] record of the reservation that the script is about: a hash of
--     owner, tokens, settled (absent while it is open)
-- All of them begin with policy:{<tenant>}, so that a cluster keeps them on one node. Time is the server's,
-- and stands still within a script. All reads and checks come before the first write, so that no script
-- stops half way.

local SPARE = 3600000 -- how much longer than they are needed keys are kept, in ms

-- Numbers are doubles; above 10^14 Lua would write them with an exponent.
local function int(number)
  return string.format('%.0f', number)
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The state as it is now: ended windows and leases no longer count.
local function load(now, length)
  local state = redis.call('HMGET', KEYS[1], 'used', 'reserved', 'window')
  local ledger = {used = tonumber(state[1]) or 0, reserved = tonumber(state[2]) or 0, ended = false}
  local window = now - now % length + length
  local known = tonumber(state[3])
  if not known or known <= now then
    ledger.used = 0
  else
    -- A window that another length began ends no later than it would now: shortening it works at once.
    window = math.min(known, window)
  end
  ledger.window = window
  for _, lease in ipairs(redis.call('ZRANGE', KEYS[2], '-inf', int(now), 'BYSCORE')) do
    ledger.reserved = ledger.reserved - tonumber(string.match(lease, '^%d+'))
    ledger.ended = true
  end
  return ledger
end

local function save(now, ledger, length)
  if ledger.ended then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', int(now))
  end
  redis.call('HSET', KEYS[1], 'used', int(ledger.used),
    'reserved', int(ledger.reserved), 'window', int(ledger.window))
  -- Outlives the window and every lease: leases are no longer than SPARE.
  redis.call('PEXPIRE', KEYS[1], int(length + SPARE))
  redis.call('PEXPIRE', KEYS[2], int(length + SPARE))
end

local function answer(status, ledger, extra)
  return {status, ledger.used, ledger.reserved, ledger.window, extra or 0}
end
