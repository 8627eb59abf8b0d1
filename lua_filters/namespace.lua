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


-- The digits that the mapped ids of a cloud begin with.
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


-- The id in a namespace; "" keeps the id. A hexadecimal id keeps its length, for services that check the
-- length, and mapping it again does not change it.
function _M.mapped_id(id, namespace)
  if namespace == "" then
    return id
  elseif #id >= 2 * DIGITS and find(id, "^[0-9a-f]+$") then
    return namespace .. sub(id, DIGITS + 1)
  end
  return namespace .. id
end

return _M
