-- Which ids the users and projects of another cloud have here.
--
-- Contract: docs/lua.md, "A foreign token"; ids.json in tests/vectors/tokens, shared with the planner,
-- which makes the same digits for the answers of Keystones. Pure; the digits are remembered for at
-- most MAX_NAMES clouds, then all are forgotten.
-- Cost: a look-up for a cloud that is known.

local sha256 = require("sha256")

local find, sub = string.find, string.sub

local _M = {}

local DIGITS = 16 -- of the namespace, and of an id that gives way to it
local MAX_NAMES = 1024

local known, count = {}, 0


-- The digits with which the ids of a cloud begin where they aren't kept.
function _M.of(cloud)
  local digits = known[cloud]
  if not digits then
    if count >= MAX_NAMES then
      known, count = {}, 0
    end
    digits = sub(sha256.hex(cloud), 1, DIGITS)
    known[cloud] = digits
    count = count + 1
  end
  return digits
end


-- An id in a namespace; "" keeps it. One of hexadecimal digits keeps its length, for services that
-- count them. Once more changes nothing of such a one.
function _M.moved(id, namespace)
  if namespace == "" then
    return id
  elseif #id >= 2 * DIGITS and find(id, "^[0-9a-f]+$") then
    return namespace .. sub(id, DIGITS + 1)
  end
  return namespace .. id
end

return _M
