-- The services of the listener: what OpenStack's official types are called in paths, and the target
-- that serves each when a request says nothing.

local constants = require("constants")
local target = require("target")

local _M = {}

_M.HOME = {} -- service type to the target of this site

for word, service in pairs(constants.services) do
  if word == service then
    _M.HOME[service] = target.make(service, constants.site)
  end
end

return _M
