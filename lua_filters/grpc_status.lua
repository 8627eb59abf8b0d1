-- A local reply that Envoy has made one of gRPC, with the status that it stands for.
--
-- Contract: docs/lua.md, "Links". Envoy answers a request with `Content-Type: application/grpc` by a 200
-- with `grpc-status`, also of clients that speak no gRPC: a denial then looks like a success in the access log, and to clients
-- of HTTP/1.1, which cannot speak gRPC. `restore` gives it back its status, and a client of a front that
-- speaks HTTP/1.1 its body. Over HTTP/2 it stays a reply of gRPC, which has no body.
-- Cost: one read of a header for answers with a `Location`; all else for such replies only.

local char, find, gsub, match = string.char, string.find, string.gsub, string.match
local tonumber = tonumber

local _M = {}

local GRPC = "application/grpc"
-- What our errors begin with, whether Envoy or Lua wrote them.
local CODE = '^{"error": ?{"code": ?([45]%d%d),'
-- A reply to HEAD has no message: the statuses that Envoy made these of, by gRPC's own table.
local STATUS = { ["7"] = "403", ["12"] = "404", ["13"] = "400", ["14"] = "503", ["16"] = "401" }


-- Whether the client is one of HTTP/1.1, and no Envoy, which speaks it to its own listeners.
local function is_http_1(handle)
  local info = handle:streamInfo()
  return find(info:protocol(), "HTTP/1", 1, true) == 1
    and find(info:downstreamLocalAddress(), "envoy://", 1, true) ~= 1
end


function _M.restore(handle, headers)
  if headers:get("content-type") ~= GRPC or headers:get("x-scopeway-rejected") ~= "true" then
    return
  end
  local message = gsub(headers:get("grpc-message") or "", "%%(%x%x)", function(digits)
    return char(tonumber(digits, 16))
  end)
  local status = match(message, CODE)
  if not status and message ~= "" then
    return -- the message is no error of Scopeway's
  end
  if headers:get(":status") == "200" then
    headers:replace(":status", status or STATUS[headers:get("grpc-status")] or "500")
  end
  if is_http_1(handle) then
    headers:replace("content-type", "application/json")
    headers:remove("grpc-status")
    headers:remove("grpc-message")
    if status then
      handle:body(true):setBytes(message)
    end
  end
end

return _M
