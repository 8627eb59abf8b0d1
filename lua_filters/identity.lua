-- Requests to a Keystone, which must never see a scope in a token.
--
-- Contract: docs/lua.md, "Identity". `choose` gives the target, or nil, a status and a sentence.
-- Cost: four to six reads of headers; a body is read for a login only.

local adapter = require("adapter")
local pending_response = require("pending_response")
local resolve = require("resolve")
local services = require("services")
local token_body = require("token_body")
local tokens = require("tokens")

local find, sub, tonumber = string.find, string.sub, tonumber
local HOME, VALIDATIONS = services.HOME, services.VALIDATIONS
local TOKENS = "/v3/auth/tokens"
local CATALOG = "^/v3/auth/catalog/?%f[?%z]"
local MAX_BYTES = token_body.MAX_BYTES
-- The route of a front that bounds the body of a login before this filter (control_plane/translator/route_templates.py).
local LOGIN_ROUTE = "login"
-- Routes of the version before had no name. Envoy has them until its new ones have come, which is after this Lua
-- (docs/upgrades.md). To be removed in the next version.
local EARLIER_ROUTE = ""
local NO_BOUND = "this front does not yet bound the body of a login: try again"
local TOO_LONG = "a request for a token has at most " .. MAX_BYTES .. " bytes"

local _M = {}


local function is_tokens(path)
  return path == TOKENS or sub(path, 1, #TOKENS + 1) == TOKENS .. "?"
end


-- Whether the body of a login has a bound: by its route, or by what it announces while the routes are of before.
local function is_bounded(handle, headers)
  local route = handle:streamInfo():routeName()
  if route == EARLIER_ROUTE then
    local announced = headers:get("content-length") or ""
    return find(announced, "^%d+$") and tonumber(announced) <= MAX_BYTES
  end
  return route == LOGIN_ROUTE
end


-- Takes the scope out of a token header; its bare token and scope text, or nil, nil and a sentence.
local function strip_header(headers, name)
  local token, problem = adapter.single(headers, name)
  if not token then
    return nil, nil, problem
  end
  local bare, text
  bare, text, problem = tokens.split(token)
  if text then
    headers:replace(name, bare)
  end
  return bare, text, problem
end


-- Takes the scope out of the token in the body of a login; its text, or nil, a status and a
-- sentence.
local function strip_body(handle, headers)
  local announced = headers:get("content-length")
  if announced and (tonumber(announced) or 0) > MAX_BYTES then
    return nil, 413, TOO_LONG
  end
  local buffer = handle:body()
  if not buffer then
    return nil
  end
  local length = buffer:length()
  if length > MAX_BYTES then
    return nil, 413, TOO_LONG
  end
  local received = buffer:getBytes(0, length)
  local body, text, problem = token_body.strip(received)
  if problem then
    return nil, 400, problem
  end
  if body ~= received then
    buffer:setBytes(body)
  end
  return text
end


-- A validation at another cloud's Keystone, where this site's services are unknown: the token
-- validates itself, and the target is a service of its own.
local function validation(headers, resolved, subject)
  if subject then
    headers:replace("x-auth-token", subject)
  else
    headers:remove("x-auth-token")
  end
  return resolve.target(resolved, "identity", "identity.validate")
end


-- Takes the scopes out of both tokens; the bare ones, and the texts of the scopes in the headers: `said` of
-- X-Scope, `auth_text` and `subject_text`. nil and a sentence where one is refused.
local function strip_headers(headers)
  local found, problem = {}, nil
  found.said, problem = adapter.single(headers, "x-scope")
  if problem then
    return nil, problem
  end
  found.auth, found.auth_text, problem = strip_header(headers, "x-auth-token")
  if problem then
    return nil, problem
  end
  found.subject, found.subject_text, problem = strip_header(headers, "x-subject-token")
  return not problem and found or nil, problem
end


-- Whether a user asks about her own token, and no service about a user's. A service may show the user's token as
-- its own, too; but it says no scope besides the one in the token. None gets X-Scope to hand on: the last Envoy
-- before a service removes it (control_plane/translator/route_parts.py).
local function is_own_question(method, found, path_text)
  return method == "GET" and (found.said or path_text) and found.subject and found.auth == found.subject
end


-- The target of a request, but that of a cache of validations for a revocation by this site's Keystone.
local function heard_by_cache(method, target)
  return VALIDATIONS and method == "DELETE" and not target.foreign and VALIDATIONS or target
end


function _M.choose(handle, headers, path, path_text)
  local method = is_tokens(path) and headers:get(":method")
  local login, validates = method == "POST", method == "GET" or method == "HEAD"
  -- asked first: what is changed in the headers makes Envoy forget the route
  if login and not is_bounded(handle, headers) then
    return nil, 500, NO_BOUND
  end
  headers:remove("accept-encoding") -- so that an answer can be read
  local found, problem = strip_headers(headers)
  if not found then
    return nil, 400, problem
  end
  local subject = found.subject
  local text = found.said or found.auth_text or found.subject_text
  if login or validates then
    headers:replace("x-scopeway-limit", login and "login" or "validation")
  end
  if login then
    local body_text, status, message = strip_body(handle, headers) -- `headers` is dead from here on
    if status then
      return nil, status, message
    end
    text = text or body_text
  elseif validates then
    text = found.subject_text or text -- whose token it is decides who can validate it
  end
  local carried = text ~= nil and text ~= found.said
  text = text or path_text
  if not text then
    return heard_by_cache(method, HOME.identity)
  end
  local resolved
  resolved, problem = resolve.resolve(text, carried)
  if not resolved then
    return nil, 400, problem
  end
  local target = resolve.target(resolved, "identity")
  if subject and target.foreign and not is_tokens(path) then
    -- a Keystone may read "/v3/auth/%74okens" as the path that `validation` is for
    return nil, 400, "a token of another cloud is validated at " .. TOKENS .. ", not at this path"
  end
  if validates and target.foreign then
    local what = method == "HEAD" and pending_response.HEAD_VALIDATION or pending_response.VALIDATION
    pending_response.expect(handle, is_own_question(method, found, path_text) and pending_response.OWN_TOKEN or what)
    return validation(headers, resolved, subject)
  elseif target.foreign and find(path, CATALOG) and headers:get(":method") == "GET" then
    pending_response.expect(handle, pending_response.CATALOG)
    headers:replace("x-scopeway-limit", "validation") -- what is read has to end
  elseif login then
    local what = target.foreign and pending_response.FOREIGN_LOGIN or pending_response.LOGIN
    pending_response.expect(handle, what, { suffix = resolved.suffix })
  end
  return heard_by_cache(method, target)
end

return _M
