-- What becomes of a Keystone's answers: new tokens get their scope, foreign tokens lose their power. And
-- of a service's that refuses a foreign user: error_hints.lua.
--
-- Contract: docs/lua.md, "Answers". A Lua of its own, which runs where a request has called `expect` of
-- pending_response.lua. `on_response` gives PASS, or a status and a sentence for the user.
-- Cost: none for other answers.

local adapter = require("adapter")
local pending_response = require("pending_response")
local catalog = require("catalog")
local foreign_token = require("foreign_token")
local error_hints = require("error_hints")
local json = require("json")

local find, tonumber = string.find, tonumber

local _M = {}

local NAMESPACE = pending_response.NAMESPACE
local FOREIGN_LOGIN = pending_response.FOREIGN_LOGIN
local VALIDATION, HEAD_VALIDATION = pending_response.VALIDATION, pending_response.HEAD_VALIDATION
local MAX_BYTES = 524288
local PASS = adapter.PASS
local NOT_ASKED = "the cloud that issued the token does not let this one validate it"
local NOT_BY_ITSELF = "the Keystone that issued the token does not let it validate itself, as those of trusts that "
  .. "impersonate: its policy identity:validate_token decides"


-- Replaces the body of an answer by what `edit` makes of it.
local function edit_body(handle, headers, edit)
  if headers:get("content-encoding") then
    return 502, "the identity service encoded its answer, though nobody asked for that"
  end
  local announced = tonumber(headers:get("content-length") or 0) or 0
  local buffer = announced <= MAX_BYTES and handle:body()
  local length = buffer and buffer:length() or announced
  if length > MAX_BYTES then
    return 502, "the identity service's answer is longer than " .. MAX_BYTES .. " bytes"
  elseif not buffer or length == 0 then
    return 502, "the identity service's answer is empty"
  end
  local body, status, message = edit(buffer:getBytes(0, length))
  if not body then
    return status, message
  end
  buffer:setBytes(body)
  -- what is said there of the bytes could make others of them
  handle:headers():replace("content-type", "application/json")
  return PASS
end


-- The answer to a validation at another cloud. A service follows redirects, with its own token.
local function validation(handle, headers, what)
  local honoured = headers:get("x-scopeway-honoured")
  headers:remove("x-scopeway-honoured")
  local status = headers:get(":status")
  if status == "401" then
    -- the token was shown as its own: nobody else is unauthorised
    return 404, "the token is not valid at the cloud that issued it"
  elseif status == "403" then
    -- of a 403 services make a broken Keystone, and answer 503
    return 404, headers:get("x-scopeway-rejected") == "true" and NOT_ASKED or NOT_BY_ITSELF
  elseif find(status, "^[45]%d%d$") then
    return PASS
  elseif what == HEAD_VALIDATION and (status == "200" or status == "204") then
    return PASS
  elseif status ~= "200" or not honoured then
    return 502, "the identity service of another cloud answered a validation with " .. status
  end
  return edit_body(handle, headers, function(body)
    return foreign_token.edit(body, honoured)
  end)
end


-- Makes the catalog of a node this site's; whether it has one, or nil where that isn't understood.
local function edit_catalog(node)
  local received
  if json.is_object(node) then
    received = node.fields.catalog
  end
  if received == nil then
    return false
  end
  local made = catalog.rewritten(received)
  if made then
    json.set(node, "catalog", made)
    return true
  end
end


-- The body with the catalog of this site, where it has one: in the token, and beside its links.
local function with_own_catalog(body)
  local document, problem = json.decode(body)
  if document == nil then
    return nil, 502, "the identity service's answer is not JSON: " .. problem
  end
  local outside = edit_catalog(document)
  local inside = edit_catalog(json.is_object(document) and document.fields.token)
  if outside == nil or inside == nil then
    return nil, 502, "the identity service's answer has an unexpected catalog"
  end
  return (outside or inside) and json.encode(document) or body
end


-- An answer of another cloud's Keystone in which a catalog may be, whatever it calls its success. A client
-- follows redirects, to where no catalog is made this site's.
local function with_catalog(handle, headers)
  local status = headers:get(":status")
  if find(status, "^[45]%d%d$") then
    return PASS
  elseif find(status, "^2%d%d$") then
    return edit_body(handle, headers, with_own_catalog)
  end
  return 502, "the identity service of another cloud answered with " .. status
end


local function login(handle, headers, state)
  local token = headers:get("x-subject-token")
  if token then
    if find(token, "~", 1, true) then
      return 502, "the identity service returned a token with a scope of its own"
    end
    headers:replace("x-subject-token", token .. state.suffix)
  end
  if state.answer == FOREIGN_LOGIN then
    return with_catalog(handle, headers)
  end
  return PASS
end


function _M.on_response(handle)
  local state = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  local what = state and state.answer
  if not what then
    return PASS
  end
  local headers = handle:headers()
  if what == pending_response.FOREIGN_USER then
    error_hints.add(handle, headers, state)
    return PASS
  elseif what == VALIDATION or what == HEAD_VALIDATION then
    return validation(handle, headers, what)
  elseif what == pending_response.OWN_TOKEN then
    headers:remove("x-scopeway-honoured")
    return with_catalog(handle, headers)
  elseif what == pending_response.CATALOG then
    return with_catalog(handle, headers)
  end
  return login(handle, headers, state)
end


-- Only the front's Lua chooses this one.
_M.envoy_on_request = adapter.no_request


function _M.envoy_on_response(handle)
  adapter.on_response(handle, _M.on_response)
end

return _M
