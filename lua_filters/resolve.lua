-- What a scope text means at this site: remembered, since the same few texts come again and again.
--
-- Contract: `resolve(text, carried)` gives a table for `target` with the field `suffix` (of tokens), or nil
-- and a sentence; `carried` is true where the text was in a token (scope.lua). The memory is bounded: it is dropped whole when it holds about MAX_MEMORY bytes.
-- Refused texts are not remembered.
-- Cost: one look-up for a text that is known; about 10 µs for a new one.

local constants = require("constants")
local scope = require("scope")
local target = require("target")
local tokens = require("tokens")

local find = string.find
local SITE = constants.site
local MAX_MEMORY = 1048576
local ENTRY_OVERHEAD = 1024 -- bytes of the tables of an entry, about

local _M = {}

local written, carried_in_tokens = {}, {}
local used = 0


function _M.resolve(text, carried)
  local known = (carried and carried_in_tokens or written)[text]
  if known then
    return known
  end
  local bindings, completed = scope.complete(text, SITE, carried)
  if not bindings then
    return nil, completed
  end
  if used > MAX_MEMORY then
    written, carried_in_tokens, used = {}, {}, 0
  end
  known = { suffix = tokens.suffix(completed), bindings = bindings, targets = {} }
  local memory = carried and carried_in_tokens or written
  memory[text] = known
  used = used + #text + 2 * #completed + ENTRY_OVERHEAD
  return known
end


-- The target of a service; its `issuer` is the cloud whose Keystone gave out the token, where that is
-- one, and another cloud may serve the target. `as` names it where the name isn't the service's (`identity.validate`).
function _M.target(resolved, service, as)
  local name = as or service
  local known = resolved.targets[name]
  if not known then
    local bindings = resolved.bindings
    local expression = bindings[service] or bindings["*"]
    local identity = bindings.identity or bindings["*"]
    known = target.make(name, expression)
    known.issuer = expression ~= identity and find(identity, "^[a-z0-9-]+$") and identity or nil
    resolved.targets[name] = known
  end
  return known
end

return _M
