-- Target names: `<service>@<expression>`, the names of compiled clusters.
--
-- Contract: a target is a table {name, foreign, fanout, spread, issuer} that nobody changes but `admit`. Envoy
-- keeps about 1 kB for every name for ever, so a worker hands out a bounded number of them, and
-- not all at once: each is a question to the control plane. A long name counts as several: it costs
-- more to read, and Envoy repeats all names in one request whenever it comes back. A
-- fan-out by labels counts as several, too: its cluster names thousands of clouds.
-- Cost: `make` concatenates; resolve.lua keeps its results. `admit` is one look-up, and for a new
-- name a look at the clock.

local constants = require("constants")

local find = string.find
local floor = math.floor
local min = math.min
local time = os.time
local SITE = constants.site
local MAX_TARGETS = constants.max_targets or 2000
local RATE = constants.new_targets_per_second or 100
local BURST = constants.new_targets_burst or 1000
local BYTES_OF_A_NAME = 256
local NAMES_OF_A_LABEL_FANOUT = 8

local _M = {}

local admitted = {}
local count = 0
local tokens, filled = BURST, 0

local TOO_MANY = "too many different scopes at " .. SITE .. "; those in use still work"
local TOO_FAST = "too many new scopes at " .. SITE
  .. " just now; those in use still work, others in a second"


-- foreign: another cloud than this site may serve it. fanout: the site's collector asks several clouds.
-- spread: it has a second cloud to try.
function _M.make(service, expression)
  local fanout = find(expression, "[&^]") ~= nil
  return {
    name = service .. "@" .. expression,
    foreign = expression ~= SITE,
    fanout = fanout,
    spread = not fanout and find(expression, "[|%[]") ~= nil,
  }
end


-- Whether there is a token for one more name, which may then take some on credit: it counts for
-- so many. The clock counts whole seconds.
local function take_tokens(names)
  local now = time()
  if now ~= filled then
    if now > filled then
      tokens = min(BURST, tokens + (now - filled) * RATE)
    end
    filled = now -- also where the clock was set back
  end
  if tokens < 1 then
    return false
  end
  tokens = tokens - names
  return true
end


-- Whether a request may go to this target: it was used before, or is one of the first MAX_TARGETS
-- and comes no faster than they may. Else nil and a sentence.
function _M.admit(target)
  if target.admitted or not target.foreign then
    return true
  end
  local name = target.name
  if not admitted[name] then
    local names = 1 + floor(#name / BYTES_OF_A_NAME)
    if find(name, "&[", 1, true) then
      names = names + NAMES_OF_A_LABEL_FANOUT - 1
    end
    if count >= MAX_TARGETS then
      return nil, TOO_MANY
    end
    if not take_tokens(names) then
      return nil, TOO_FAST
    end
    admitted[name] = true
    count = count + names
  end
  target.admitted = true
  return true
end

return _M
