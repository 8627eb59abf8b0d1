-- What a service says to a user of another cloud whom it refuses, in words that help.
--
-- Contract: docs/lua.md, "Foreign users". The service doesn't know why its token counts for nothing, or
-- for less than at home; statuses stay. What Scopeway answered itself, and what the cloud says that gave
-- out the token, is left alone.
-- Cost: a read of the status; bodies are read of a 401 and a short 403 only.

local errors = require("errors")

local find, format, gsub, sub, tonumber = string.find, string.format, string.gsub, string.sub, tonumber

local _M = {}

local MAX_BYTES = 65536
local UNAUTHORIZED = "%s does not accept this token of %s: it has expired or was revoked, or %s does not "
  .. "honour identities of %s (accept[].identity)"
local FORBIDDEN = " (of %s, only the roles count at %s that its accept[].identity lists, by default "
  .. "member and reader)"


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
  local made, count = gsub(body, "%s*</body>", hint .. "\n </body>", 1)
  return count == 1 and made or nil
end


local function unauthorized(handle, headers, cloud, issuer)
  headers:remove("content-encoding")
  headers:remove("etag")
  headers:replace("content-type", errors.CONTENT_TYPE)
  headers:replace("x-scopeway-rejected", "true")
  local message = format(UNAUTHORIZED, cloud, issuer, cloud, issuer)
  handle:body(true):setBytes(errors.body(401, message))
end


local function forbidden(handle, headers, cloud, issuer)
  local length = tonumber(headers:get("content-length") or 0) or 0
  if length == 0 or length > MAX_BYTES or headers:get("content-encoding") then
    return
  end
  local buffer = handle:body()
  if not buffer or buffer:length() == 0 then
    return
  end
  local body = with_hint(buffer:getBytes(0, buffer:length()), format(FORBIDDEN, issuer, cloud))
  if body then
    buffer:setBytes(body)
  end
end


function _M.explain(handle, headers, issuer)
  local status = headers:get(":status")
  local explain = status == "401" and unauthorized or status == "403" and forbidden
  if not explain or headers:get("x-scopeway-rejected") == "true" then
    return
  end
  local cloud = headers:get("x-scopeway-served-by")
  if cloud and cloud ~= issuer then
    explain(handle, headers, cloud, issuer)
  end
end

return _M
