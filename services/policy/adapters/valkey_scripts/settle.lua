-- ARGV: window length in ms, reservation id, owner, used tokens.
-- Answers ok or missing.
local length, id, owner, used = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local now = now_ms()
local ledger = load(now, length)

local record = redis.call('HMGET', KEYS[3], 'owner', 'tokens', 'settled')
if record[1] ~= owner then
  return answer('missing', ledger)
end
if record[3] then
  return answer('ok', ledger)
end

local member = record[2] .. ':' .. id
local ends = redis.call('ZSCORE', KEYS[2], member)
if ends and tonumber(ends) > now then
  ledger.reserved = ledger.reserved - tonumber(record[2])
end
ledger.used = ledger.used + used
redis.call('ZREM', KEYS[2], member)
save(now, ledger, length)
redis.call('HSET', KEYS[3], 'settled', ARGV[4])
redis.call('PEXPIRE', KEYS[3], int(SPARE))
return answer('ok', ledger)
