-- The rim to Envoy's handle: runs a filter so that an error never lets a message go on.
--
-- Contract: Envoy fails open, a script that raises lets the request through unmodified. So a filter
-- returns PASS for "go on", or a status and a sentence, and perhaps the seconds of `Retry-After`;
-- anything else, and any error, is a 500. On
-- the way back `respond` is not allowed: there the answer is overwritten, after an error with a 502.
-- Cost: one pcall.

local errors = require("errors")

local find = string.find
local pairs, pcall, tostring, type = pairs, pcall, tostring, type

-- Every request leaves a coroutine and a few wrappers. The heap is small, so let it grow to four
-- times what is alive before it is collected again, not twice.
collectgarbage("setpause", 400)

local _M = {}

_M.PASS = true

local PASS = _M.PASS
local REQUEST_FAILED = "the scope filter failed, so the request was not sent on"
local ANSWER_REFUSED = "the answer was withheld: "
local ANSWER_FAILED = "the scope filter failed"
-- What is left of an answer that is withheld.
local OURS = { [":status"] = true, ["x-scopeway-served-by"] = true }
local SPELLING = {
  ["x-scope"] = "X-Scope",
  ["x-auth-token"] = "X-Auth-Token",
  ["x-subject-token"] = "X-Subject-Token",
}


local function refuse(handle, status, message, seconds)
  local headers = { [":status"] = tostring(status), ["content-type"] = errors.CONTENT_TYPE }
  headers["retry-after"] = seconds and tostring(seconds)
  handle:respond(headers, errors.body(status, message))
end


function _M.on_request(handle, filter)
  local ok, result, message, seconds = pcall(filter, handle)
  if ok and result == PASS then
    return
  end
  if ok and type(result) == "number" then
    refuse(handle, result, message, seconds)
  else
    handle:logErr("scopeway: request filter failed: " .. tostring(result))
    refuse(handle, 500, REQUEST_FAILED)
  end
end


-- For a Lua of answers, which another Lua chooses after it has run: a request that begins there has forged that.
function _M.no_request(handle)
  refuse(handle, 500, "a request began where only answers are expected")
end


-- The value of a header or nil; nil and a sentence for two of them, of which a service may take
-- another than we do. `get` joins them with a comma.
function _M.single(headers, name)
  local value = headers:get(name)
  if value and find(value, ",", 1, true) and headers:getNumValues(name) > 1 then
    return nil, "more than one " .. SPELLING[name] .. " header"
  end
  return value
end


-- The headers that could give power go first, whatever happens after; then all that isn't ours.
local function overwrite(handle, status, message)
  local headers = handle:headers()
  headers:remove("x-subject-token")
  headers:remove("x-scopeway-honoured")
  headers:remove("location")
  headers:replace(":status", tostring(status))
  local others = {} -- while one looks at them, none can be removed
  for name in pairs(headers) do
    others[name] = not OURS[name] or nil
  end
  for name in pairs(others) do
    headers:remove(name)
  end
  headers:replace("content-type", errors.CONTENT_TYPE)
  handle:body(true):setBytes(errors.body(status, message))
end


function _M.on_response(handle, filter)
  local ok, result, message = pcall(filter, handle)
  if ok and result == PASS then
    return
  end
  if not ok or type(result) ~= "number" then
    handle:logErr("scopeway: response filter failed: " .. tostring(result))
    result, message = 502, ANSWER_FAILED
  end
  overwrite(handle, result, ANSWER_REFUSED .. tostring(message))
end

return _M
