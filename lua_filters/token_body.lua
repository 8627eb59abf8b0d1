-- The token in the body of a login: `auth.identity.token.id` of `POST /v3/auth/tokens`.
--
-- Contract: `strip(body)` takes the scope out of every string at that place of the JSON document,
-- and changes no other byte. What json_strings.lua doesn't understand it leaves alone; Keystone then
-- refuses a token with a scope in it.
-- Cost: one pass over at most MAX_BYTES bytes.

local json_strings = require("json_strings")
local tokens = require("tokens")

local find, sub = string.find, string.sub
local concat = table.concat

local _M = {}

_M.MAX_BYTES = 65536

local PLACE = { "auth", "identity", "token", "id" }


-- Whether the names from the root to here are PLACE.
local function at_place(walk)
  if walk.depth ~= #PLACE then
    return false
  end
  for i = 1, walk.depth do
    if walk.keys[i] ~= PLACE[i] then
      return false
    end
  end
  return true
end


-- The body without scopes in its token, and the scope text (of the last one, which is the one that
-- Keystone reads) or nil; nil, nil and a sentence where the token is refused.
function _M.strip(body)
  if not find(body, "~", 1, true) then
    return body
  end
  local parts, done, scope_text, refused = {}, 0, nil, nil
  json_strings.each(body, function(walk, first, last)
    if at_place(walk) then
      local bare, text, problem = tokens.split(sub(body, first, last))
      if problem then
        refused = problem
        return true
      end
      parts[#parts + 1] = sub(body, done + 1, first - 1) .. bare
      done, scope_text = last, text
    end
  end)
  if refused then
    return nil, nil, refused
  end
  parts[#parts + 1] = sub(body, done + 1)
  return concat(parts), scope_text
end

return _M
