-- The services of the listener: what official types are called in paths, the target that serves each when a
-- request says nothing, and which of them have the protocol `http`.

local constants = require("constants")
local target = require("target")

local _M = {}

_M.HOME = {} -- service type to the target of this site
_M.HTTP = constants.http or {} -- service type to the names of headers that may go to other clouds

-- The target of validations by this site's Keystone that its collector caches, and of revocations, which it has to
-- hear of; nil where it caches none.
_M.VALIDATIONS = constants.caches_validations and target.make("identity.validate", constants.site) or nil

for word, service in pairs(constants.services) do
  if word == service then
    _M.HOME[service] = target.make(service, constants.site)
  end
end

return _M
