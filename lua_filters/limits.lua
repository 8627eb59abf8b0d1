-- The limits of each calling cloud at a peer: requests a second, and requests at once.
--
-- Contract: docs/policy.md, "Limits". Each worker counts for itself. The limits of rules come with the routes
-- (LuaPerRoute.filter_context, `limits`); they are read once a second, and those of the site itself are constants.
-- Envoy's Lua has no hook for the end of a stream. But a request's handle is garbage from then on, so
-- each caller has a weak list of handles: those of ended requests vanish when Lua collects its garbage. A list is only
-- an upper bound until then, so a caller at its limit makes Lua collect first.
-- Cost: a few look-ups in tables and a look at the clock, 0.1 to 0.2 µs a request. What is at a limit costs up to six calls on the handle.

local constants = require("constants")

local gmatch = string.gmatch
local max, min = math.max, math.min
local clock, time = os.clock, os.time

local _M = {}

local SITE = constants.site
local UNLIMITED = math.huge
-- Collections that callers at their limit cause take at most a tenth of the time, and are so many microseconds apart.
local SHARE, PAUSE = 10, 1000
-- Entries of all lists together that are added before all are made anew.
local ENTRIES = 10000
-- Refusals of a caller that the access log has of each second.
local LOGGED = 10
local WEAK = { __mode = "v" }

local BY_DEFAULT = constants.limits or {}
local DEFAULT = {
  per_second = BY_DEFAULT.per_second or UNLIMITED,
  per_second_of = "peer.limits",
  at_once = BY_DEFAULT.at_once or UNLIMITED,
  at_once_of = "peer.limits",
}

local second -- the last one in which a request came
local text, own = nil, {} -- the rules' limits as they came, and caller to limits
-- Caller to what it has: `tokens` at the time `filled` (in milliseconds, and in the second `filled_in`), and in 1 to
-- `n` the handles of its requests, as they were known at the collection `known`.
local callers = {}
local entries, most = 0, ENTRIES
local collection, canary = 0, setmetatable({ {} }, WEAK)
local collected, next_collection = 0, 0


local function figure(word, default)
  if word == "-" then
    return default
  end
  return word == "*" and UNLIMITED or tonumber(word)
end


local function source(word)
  return word == "-" and "peer.limits" or "accept[" .. word .. "].limits"
end


-- Lines of requests a second, the rule that says so, requests at once, its rule, and the clouds' names.
local function parse(lines)
  local parsed = {}
  for per_second, of, at_once, from, names in gmatch(lines, "(%S+) (%S+) (%S+) (%S+)([^\n]*)\n") do
    local limits = {
      per_second = figure(per_second, DEFAULT.per_second),
      per_second_of = source(of),
      at_once = figure(at_once, DEFAULT.at_once),
      at_once_of = source(from),
    }
    for name in gmatch(names, "%S+") do
      parsed[name] = limits
    end
  end
  return parsed
end


local function read_rules(handle)
  local lines = handle:filterContext():get("limits")
  if lines == text then
    return
  end
  text = lines
  own = lines and parse(lines) or {}
end


-- Takes the requests out of a caller's list that are known to have ended.
local function clean(caller)
  local n = 0
  for i = 1, caller.n do
    local handle = caller[i]
    if handle then
      n = n + 1
      if n < i then
        caller[n], caller[i] = handle, nil
      end
    end
  end
  caller.n, caller.known = n, collection
end


local function microseconds(handle)
  return tonumber(handle:timestampString(EnvoyTimestampResolution.MICROSECOND))
end


-- Collects Lua's garbage, unless it did so just now.
local function collect(handle)
  local began, spent = microseconds(handle), clock()
  if began < next_collection and began >= collected then
    return false
  end
  collectgarbage()
  collected, spent = microseconds(handle), clock() - spent
  -- other threads spend time of the process, and time passes while this one has to wait
  local took = min(collected - began, spent * 1e6)
  next_collection = collected + max(PAUSE, SHARE * took)
  return true
end


-- The same in a new list: an old one keeps its size.
local function copy(caller)
  clean(caller)
  local new = setmetatable({}, WEAK)
  for key, value in pairs(caller) do
    new[key] = value
  end
  return new
end


-- Makes all lists anew, and forgets callers whose tokens would all be back.
local function clean_all(handle)
  collect(handle)
  local now, left = handle:timestamp(), 0
  for name, caller in pairs(callers) do
    local new = copy(caller)
    local rest = now - new.filled
    if new.n == 0 and (rest >= 1000 or rest < 0) then
      callers[name] = nil
    else
      callers[name] = new
      left = left + 1 + new.n
    end
  end
  entries, most = left, 2 * left + ENTRIES
end


local function new_caller(handle, limits)
  entries = entries + 1
  return setmetatable({
    tokens = limits.per_second,
    filled = handle:timestamp(),
    filled_in = second,
    n = 0,
    known = collection,
  }, WEAK)
end


local function refill(handle, caller, per_second)
  local now = handle:timestamp()
  local passed = max(0, now - caller.filled) -- the clock may be set back
  local tokens = per_second
  if per_second ~= UNLIMITED then -- no times infinity is no number
    tokens = min(per_second, caller.tokens + passed * per_second / 1000)
  end
  caller.tokens, caller.filled, caller.filled_in = tokens, now, second
  return tokens
end


local function is_logged(caller)
  if caller.refused_in ~= second then
    caller.refused_in, caller.refused = second, 0
  end
  caller.refused = caller.refused + 1
  return caller.refused <= LOGGED
end


local function refuse(handle, caller, counter, limit, message)
  handle:stats():counter(counter):inc()
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("scopeway", "limit", limit)
  if not is_logged(caller) then
    metadata:set("scopeway", "unlogged", "true")
  end
  return 429, message .. " (" .. limit .. ")", 1
end


local function refuse_rate(handle, name, caller, limits)
  return refuse(
    handle,
    caller,
    "limited_per_second",
    limits.per_second_of .. ".requestsPerSecond",
    SITE .. " takes at most " .. limits.per_second .. " requests a second from " .. name
  )
end


local function refuse_at_once(handle, name, caller, limits)
  return refuse(
    handle,
    caller,
    "limited_at_once",
    limits.at_once_of .. ".requestsAtOnce",
    SITE .. " takes at most " .. limits.at_once .. " requests at once from " .. name
  )
end


-- Counts a request of a cloud. Returns nothing where it may go on; else a status, a sentence, and after how many
-- seconds to try again.
function _M.admit(handle, name)
  local now = time()
  if now ~= second then
    second = now
    read_rules(handle)
  end
  local limits = own[name] or DEFAULT
  local caller = callers[name]
  if not caller then
    caller = new_caller(handle, limits)
    callers[name] = caller
  end
  local tokens = caller.tokens
  if tokens < 1 or caller.filled_in ~= second then
    tokens = refill(handle, caller, limits.per_second)
    if tokens < 1 then
      return refuse_rate(handle, name, caller, limits)
    end
  end
  caller.tokens = tokens - 1
  if canary[1] == nil then -- Lua has collected its garbage
    canary[1] = {}
    collection = collection + 1
  end
  if caller.known ~= collection then
    clean(caller)
  end
  if caller.n >= limits.at_once then
    if collect(handle) then
      clean(caller)
    end
    if caller.n >= limits.at_once then
      return refuse_at_once(handle, name, caller, limits)
    end
  end
  local n = caller.n + 1
  caller[n] = handle
  caller.n = n
  entries = entries + 1
  if entries > most then
    clean_all(handle)
  end
end

return _M
