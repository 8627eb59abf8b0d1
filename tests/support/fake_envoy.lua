-- A strict stand-in for Envoy's Lua handles: what Envoy hasn't is an error, and what is awkward in
-- Envoy is awkward here. A missing header is no value; `respond` and `body` yield, and what a
-- script got before a yield is dead; `respond` on the way back raises; so do values that are no
-- strings.

local _M = {}

local hidden = setmetatable({}, { __mode = "k" }) -- object to its state
local running -- the message
local CANNOT_FAIL = { timestamp = true, timestampString = true } -- neither counted nor made to fail
EnvoyTimestampResolution = { MICROSECOND = "us" }
local held = {} -- handles of requests that go on

-- Envoy's LuaJIT asks a value itself what it has; plain LuaJIT doesn't.
local plain_pairs = pairs
function pairs(value)
  local metatable = debug.getmetatable(value)
  if metatable and metatable.__pairs then
    return metatable.__pairs(value)
  end
  return plain_pairs(value)
end


local function class(kind, methods)
  return {
    __index = function(self, name)
      if not hidden[self] then
        error("object used outside of proper scope", 2)
      end
      if not CANNOT_FAIL[name] then
        running.calls = running.calls + 1
      end
      if hidden[self].broken == name or running.calls == running.fails_at then
        error(name .. " is broken", 2)
      end
      return methods[name] or error("a " .. kind .. " has no method '" .. tostring(name) .. "'", 2)
    end,
    __newindex = function()
      error("a " .. kind .. " takes no fields", 2)
    end,
    __metatable = false,
  }
end


local function make(metatable, state)
  local object = setmetatable({}, metatable)
  hidden[object] = state
  return object
end


local function text(value, what)
  if type(value) ~= "string" then
    error(what .. " must be a string, not " .. type(value), 3)
  end
  return value
end


local function changed(headers)
  local list = hidden[headers]
  if running.looked_at == list then
    error("header map cannot be modified while iterating", 3)
  end
  running.headers_changed = true
  return list
end


local Headers = class("header map", {
  get = function(self, name)
    local values = {}
    for _, header in ipairs(hidden[self]) do
      if header[1] == text(name, "a name") then
        values[#values + 1] = header[2]
      end
    end
    if values[1] then
      return table.concat(values, ",")
    end
  end,
  getNumValues = function(self, name)
    local count = 0
    for _, header in ipairs(hidden[self]) do
      if header[1] == text(name, "a name") then
        count = count + 1
      end
    end
    return count
  end,
  pairs = function(self)
    return hidden[self]
  end,
  replace = function(self, name, value)
    text(value, "a value")
    local list = changed(self)
    for i = #list, 1, -1 do
      if list[i][1] == text(name, "a name") then
        table.remove(list, i)
      end
    end
    list[#list + 1] = { name, value }
  end,
  remove = function(self, name)
    local list = changed(self)
    for i = #list, 1, -1 do
      if list[i][1] == text(name, "a name") then
        table.remove(list, i)
      end
    end
  end,
})

-- While somebody looks at them, no header may be changed.
Headers.__pairs = function(self)
  local list, at = Headers.__index(self, "pairs")(self), 0
  return function()
    at = at + 1
    running.looked_at = list[at] and list or nil
    if list[at] then
      return list[at][1], list[at][2]
    end
  end
end


local Buffer = class("buffer", {
  length = function(self)
    return #hidden[self].body
  end,
  getBytes = function(self, index, length)
    local body = hidden[self].body
    if index < 0 or index + length > #body then
      error("index/length must be >= 0 and (index + length) must be <= buffer size", 2)
    end
    return body:sub(index + 1, index + length)
  end,
  setBytes = function(self, bytes)
    hidden[self].body = text(bytes, "a body")
  end,
})

local Metadata = class("dynamic metadata map", {
  set = function(self, namespace, key, value)
    local all = hidden[self]
    all[namespace] = all[namespace] or {}
    all[namespace][text(key, "a key")] = text(value, "a value")
  end,
  get = function(self, namespace)
    return hidden[self][namespace]
  end,
})

local StreamInfo = class("stream info", {
  dynamicMetadata = function(self)
    return make(Metadata, hidden[self].metadata)
  end,
  protocol = function(self)
    return hidden[self].protocol or "HTTP/1.1"
  end,
  downstreamLocalAddress = function(self)
    return hidden[self].address or "127.0.0.1:80"
  end,
  -- of the route that was chosen before the script: Envoy forgets it when a header is changed
  routeName = function(self)
    return hidden[self].headers_changed and "" or hidden[self].route or ""
  end,
})


local FilterContext = class("metadata map", {
  get = function(self, key)
    return hidden[self][text(key, "a key")]
  end,
})

local Counter = class("counter", {
  inc = function(self)
    local counter = hidden[self]
    counter.stats[counter.name] = (counter.stats[counter.name] or 0) + 1
  end,
})

local Stats = class("stats scope", {
  counter = function(self, name)
    return make(Counter, { stats = hidden[self], name = text(name, "a name") })
  end,
})

-- What a script got before it waited is dead when it goes on.
local function kill(message)
  if message.wrapper then
    hidden[message.wrapper] = nil
    message.wrapper = nil
  end
end


local function handle_methods(respond)
  return {
    headers = function(self)
      local message = hidden[self]
      message.wrapper = message.wrapper or make(Headers, message.headers)
      return message.wrapper
    end,
    body = function(self, always)
      local message = hidden[self]
      message.read = true
      if message.body then
        kill(message)
        coroutine.yield("body")
      elseif not always then
        return
      end
      message.body = message.body or ""
      return make(Buffer, message)
    end,
    streamInfo = function(self)
      return make(StreamInfo, hidden[self])
    end,
    connectionStreamInfo = function(self)
      return make(StreamInfo, { metadata = hidden[self].of_connection })
    end,
    filterContext = function(self)
      return make(FilterContext, hidden[self].context)
    end,
    stats = function(self)
      return make(Stats, hidden[self].stats)
    end,
    timestamp = function(self)
      return hidden[self].now
    end,
    timestampString = function(self, resolution)
      assert(resolution == EnvoyTimestampResolution.MICROSECOND)
      return string.format("%d000", hidden[self].now)
    end,
    logErr = function(self, message)
      local log = hidden[self].log
      log[#log + 1] = text(message, "a log message")
    end,
    respond = respond,
  }
end


local Request = class("request handle", handle_methods(function(self, headers, body)
  for name, value in pairs(headers) do
    text(name, "a name")
    text(value, "a value")
  end
  hidden[self].response = { headers = headers, body = text(body, "a body") }
  coroutine.yield("respond")
end))

local Response = class("response handle", handle_methods(function()
  error("respond() not currently supported in the response path", 2)
end))


-- Runs a hook on a message {headers, body or nil, metadata, of_connection, context, stats, now, route, protocol,
-- address, log, fails_at}, of whose handle or headers a method may be `broken`, or one call fails, whatever it
-- is; what Envoy would log as a script error, and then let the message go on, is in its field `failed`. It ends
-- at once, unless `held` till all of these do.
function _M.run(hook, message, on_response)
  running, message.calls = message, 0
  local handle = make(on_response and Response or Request, message)
  held[#held + 1] = message.held and handle or nil
  local thread = coroutine.create(hook)
  local ok, what = coroutine.resume(thread, handle)
  while ok and what == "body" do
    ok, what = coroutine.resume(thread)
  end
  if not ok then
    message.failed = tostring(what)
  end
end


function _M.end_requests()
  held = {}
end

return _M
