-- Target names: `<service>@<expression>`, the names of compiled clusters.
--
-- Contract: a target is a table {name, foreign, spread} that nobody changes but `admit`. Envoy
-- keeps about 1 kB for every name for ever, so a worker hands out a bounded number of them.
-- Cost: `make` concatenates; resolve.lua keeps its results. `admit` is one look-up.

local constants = require("constants")

local find = string.find
local SITE = constants.site
local MAX_TARGETS = constants.max_targets or 2000

local _M = {}

local admitted = {}
local count = 0


-- foreign: another cloud than this site may serve it. spread: it has a second cloud to try.
function _M.make(service, expression)
  return {
    name = service .. "@" .. expression,
    foreign = expression ~= SITE,
    spread = (find(expression, "|", 1, true) or find(expression, "[", 1, true)) ~= nil,
  }
end


-- Whether a request may go to this target: it was used before, or is one of the first MAX_TARGETS.
function _M.admit(target)
  if target.admitted or not target.foreign then
    return true
  end
  local name = target.name
  if not admitted[name] then
    if count >= MAX_TARGETS then
      return false
    end
    admitted[name] = true
    count = count + 1
  end
  target.admitted = true
  return true
end

return _M
