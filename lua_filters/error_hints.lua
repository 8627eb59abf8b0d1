-- What a service says to a user of another cloud whom it refuses, in words that help.
--
-- Contract: docs/lua.md, "Foreign users". The service doesn't know why its token counts for nothing, or
-- for less than at home; statuses stay. What Scopeway answered itself, and what the cloud says that gave
-- out the token, is left alone.
-- Cost: a read of the status; bodies are read of a 401 and a short 403 only.

local errors = require("errors")

local byte, find, format, sub = string.byte, string.find, string.format, string.sub
local tonumber = tonumber

local _M = {}

local MAX_BYTES = 65536
local TAB, RETURN, SPACE = byte("\t\r ", 1, 3)
local UNAUTHORIZED = "%s does not accept this token of %s: it has expired or was revoked, it is of a trust that "
  .. "impersonates, or %s does not honour identities of %s (accept[].identity)"
local FORBIDDEN = " (%sof %s, only the roles count at %s that its accept[].identity lists, by default "
  .. "member and reader)"
local ID_OF = "%s in its %s is taken for an id of %s; "
local ID_UNCHANGED = "%s in its %s goes unchanged to %s, which may know it by another id; "


-- Where the blanks begin that end before the position. A pattern ("%s*</body>") would look at each run
-- of blanks once for each of its bytes: half a minute for 64 KiB of them.
local function before_blanks(text, position)
  local code
  repeat
    position = position - 1
    code = position > 0 and byte(text, position) or 0
  until code ~= SPACE and (code < TAB or code > RETURN)
  return position + 1
end


-- The hint behind the last message of an error as services write it, in JSON or HTML; nil where there
-- is none.
local function with_hint(body, hint)
  local _, quote = find(body, '"message"%s*:%s*"')
  if quote then
    local at = quote + 1
    local stop = find(body, '[\\"]', at)
    while stop and sub(body, stop, stop) == "\\" do
      stop = find(body, '[\\"]', stop + 2)
    end
    return stop and sub(body, 1, stop - 1) .. hint .. sub(body, stop)
  end
  local stop = find(body, "</body>", 1, true)
  return stop and sub(body, 1, before_blanks(body, stop) - 1) .. hint .. "\n " .. sub(body, stop)
end


-- Whether the length of the body is known to be one that may be held: a body without an end is not read.
local function is_short(headers)
  local length = headers:get("content-length") or ""
  return find(length, "^%d+$") and tonumber(length) <= MAX_BYTES
end


local function unauthorized(handle, headers, cloud, issuer)
  if not is_short(headers) then
    return
  end
  headers:remove("content-encoding")
  headers:remove("etag")
  headers:replace("content-type", errors.CONTENT_TYPE)
  headers:replace("x-scopeway-rejected", "true")
  local message = format(UNAUTHORIZED, cloud, issuer, cloud, issuer)
  handle:body(true):setBytes(errors.body(401, message))
end


-- What the hint says of an id in the path or query: roles may not be the reason.
local function of_id(state, cloud)
  if not state.id then
    return ""
  elseif not state.id_of then
    return format(ID_UNCHANGED, state.id, state.where, cloud)
  end
  return format(ID_OF, state.id, state.where, state.id_of ~= "" and state.id_of or state.issuer)
end


local function forbidden(handle, headers, cloud, issuer, state)
  local length = tonumber(headers:get("content-length") or 0) or 0
  if length == 0 or length > MAX_BYTES or headers:get("content-encoding") then
    return
  end
  local buffer = handle:body()
  if not buffer or buffer:length() == 0 then
    return
  end
  local hint = format(FORBIDDEN, of_id(state, cloud), issuer, cloud)
  local body = with_hint(buffer:getBytes(0, buffer:length()), hint)
  if body then
    buffer:setBytes(body)
  end
end


-- `state` is what the request has left: pending_response.lua.
function _M.add(handle, headers, state)
  local status = headers:get(":status")
  local add_hint = status == "401" and unauthorized or status == "403" and forbidden
  if not add_hint or headers:get("x-scopeway-rejected") == "true" then
    return
  end
  local cloud, issuer = headers:get("x-scopeway-served-by"), state.issuer
  if cloud and cloud ~= issuer then
    add_hint(handle, headers, cloud, issuer, state)
  end
end

return _M
