-- ARGV: window length in ms.
local now = now_ms()
return answer('ok', load(now, tonumber(ARGV[1])))
