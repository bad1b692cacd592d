-- ARGV: window length in ms, limit, reservation id, owner, tokens, lease in ms, most open reservations.
-- Answers ok, reused or exceeded; with exceeded, the last number is how many ms to wait, or -1 for ever.
local length, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local id, owner, tokens = ARGV[3], ARGV[4], tonumber(ARGV[5])
local lease, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local now = now_ms()
local ledger = load(now, length)
local member = ARGV[5] .. ':' .. id

local record = redis.call('HMGET', KEYS[3], 'owner', 'tokens', 'settled')
if record[1] then
  if record[1] ~= owner or record[2] ~= ARGV[5] or record[3] then
    return answer('reused', ledger)
  end
  local ends = redis.call('ZSCORE', KEYS[2], member)
  if ends and tonumber(ends) > now then
    return answer('ok', ledger)
  end
end

-- When the tokens are there if nobody else takes them: leases give theirs back as they end, the end of the
-- window gives back all that was used. Looks at the first leases only; a client that waits and is refused
-- again is told anew.
local function wait_ms()
  if tokens > limit then
    return -1
  end
  local used, reserved = ledger.used, ledger.reserved
  local leases = redis.call('ZRANGE', KEYS[2], '(' .. int(now), '+inf', 'BYSCORE',
    'LIMIT', 0, 256, 'WITHSCORES')
  for i = 1, #leases, 2 do
    local ends = tonumber(leases[i + 1])
    if used > 0 and ledger.window <= ends then
      used = 0
      if reserved + tokens <= limit then
        return ledger.window - now
      end
    end
    reserved = reserved - tonumber(string.match(leases[i], '^%d+'))
    if used + reserved + tokens <= limit then
      return ends - now
    end
  end
  if #leases == 512 then
    return tonumber(leases[512]) - now
  end
  return ledger.window - now
end

if ledger.used + ledger.reserved + tokens > limit then
  return answer('exceeded', ledger, wait_ms())
end
local open = redis.call('ZCOUNT', KEYS[2], '(' .. int(now), '+inf')
if open >= most then
  local first = redis.call('ZRANGE', KEYS[2], '(' .. int(now), '+inf', 'BYSCORE',
    'LIMIT', 0, 1, 'WITHSCORES')
  return answer('exceeded', ledger, tonumber(first[2]) - now)
end

ledger.reserved = ledger.reserved + tokens
save(now, ledger, length)
redis.call('ZADD', KEYS[2], int(now + lease), member)
redis.call('PEXPIRE', KEYS[2], int(length + SPARE))
redis.call('HSET', KEYS[3], 'owner', owner, 'tokens', ARGV[5])
redis.call('PEXPIRE', KEYS[3], int(lease + SPARE))
return answer('ok', ledger)
