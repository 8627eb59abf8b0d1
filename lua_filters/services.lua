-- The services of the listener: what OpenStack's official types are called in paths, and the target
-- that serves each when a request says nothing.

local constants = require("constants")
local target = require("target")

local _M = {}

_M.HOME = {} -- service type to the target of this site
_M.PREFIX = {} -- first segment of a path, byte for byte, to that segment with its slash

for word, service in pairs(constants.services) do
  if word == service then
    _M.HOME[service] = target.make(service, constants.site)
    _M.PREFIX[service] = "/" .. service
  end
end

return _M
