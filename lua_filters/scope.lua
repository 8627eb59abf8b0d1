-- The lexical form of a scope, its completion with the origin, and the binding of a service.
--
-- Contract: docs/scope.md, "The lexical form"; tests/vectors/scope holds the examples that this
-- file shares with control_plane/scope/lexical.py. Pure: text in, tables and text out.
-- Cost: one pass over at most 2048 bytes. Not for every request: resolve.lua keeps the results.

local constants = require("constants")
local suggestions = require("suggestion")

local byte, find, format = string.byte, string.find, string.format
local lower, sub = string.lower, string.sub
local concat, sort = table.concat, table.sort
local SERVICES = constants.services

local _M = {}

local MAX_BYTES = 2048
local MAX_SERVICE_TYPE = 40
local MAX_NESTED_NAMES = 8
local TOO_MANY_NAMES = format("more than %d clouds here, and another service has '&' or '^', too", MAX_NESTED_NAMES)

local NAME, BLANK, QUOTE, OTHER = 1, 2, 3, 4

-- The class of each byte of the language; upper case is folded before. No class: refused.
local CLASS = {}
for code = byte("a"), byte("z") do
  CLASS[code] = NAME
end
for code = byte("0"), byte("9") do
  CLASS[code] = NAME
end
for _, code in ipairs({ byte("-._", 1, -1) }) do
  CLASS[code] = NAME
end
for _, code in ipairs({ byte("{}[]():;,|&^%*=", 1, -1) }) do
  CLASS[code] = OTHER
end
CLASS[byte(" ")], CLASS[byte("\t")] = BLANK, BLANK
CLASS[byte('"')], CLASS[byte("'")] = QUOTE, QUOTE


local function at(column, message)
  return format("column %d: %s", column, message)
end


-- Lower case, and nothing but bytes of the language.
local function checked(text)
  if #text > MAX_BYTES then
    return nil, format("a scope has at most %d bytes, this one has %d", MAX_BYTES, #text)
  end
  text = lower(text)
  for i = 1, #text do
    if not CLASS[byte(text, i)] then
      return nil, at(i, format("byte 0x%02x is not of the scope language", byte(text, i)))
    end
  end
  return text
end


-- The first and last position of what stands between the braces, or between the outer blanks.
local function without_braces(text)
  local first, last = 1, #text
  while first <= last and CLASS[byte(text, first)] == BLANK do
    first = first + 1
  end
  while last >= first and CLASS[byte(text, last)] == BLANK do
    last = last - 1
  end
  if sub(text, first, first) ~= "{" then
    return first, last
  end
  if last == first or sub(text, last, last) ~= "}" then
    return nil, at(last + 1, "'}' is missing at the end")
  end
  return first + 1, last - 1
end


local function start_side(scan, service)
  scan.service = service -- nil until the binding's ":"
  scan.kept = {} -- of the current side of the binding, one character each
  scan.gap = false -- a blank or quote since the last kept character
  scan.doubled = false -- the last kept "|" stands for "||"
  scan.fanout = { names = 0 } -- sign: its first "&" or "^", at column; labels: it has "&["
end


local function must_be_outside(scan, what)
  if scan.quote then
    return "the closing " .. scan.quote .. " is missing before " .. what
  elseif scan.brackets then
    return "']' is missing before " .. what
  end
end


-- The word where it may be a service type that is declared elsewhere, or was declared once.
local function may_be_declared(word)
  return #word <= MAX_SERVICE_TYPE and find(word, "^[a-z0-9][a-z0-9-]*$") and sub(word, -1) ~= "-" and word
end


local function end_service(scan)
  local problem = must_be_outside(scan, "':'")
  if problem then
    return problem
  elseif scan.service then
    return "a second ':' in one binding"
  end
  local word = concat(scan.kept)
  if word == "" then
    return "a service is missing before ':'"
  end
  local service = word == "*" and word or SERVICES[word] or scan.carried and may_be_declared(word)
  if not service then
    local like = suggestions.suggestion(word)
    local hint = like and "; did you mean '" .. like .. "'?" or ""
    return "no such service: '" .. word .. "'" .. hint, scan.column - #word
  elseif scan.bindings[service] then
    return "the service '" .. service .. "' is bound twice"
  end
  start_side(scan, service)
end


-- A sentence and the column where the binding that ends is a fan-out and may be none.
local function end_fanout(scan)
  local fanout = scan.fanout
  if scan.service == "*" then
    return "'*' takes no '" .. fanout.sign .. "': bind each service by its name", fanout.column
  elseif scan.service == "identity" then
    return "identity takes one cloud, not '" .. fanout.sign .. "'", fanout.column
  end
  local fanouts = scan.fanouts
  fanouts[#fanouts + 1] = fanout
end


-- The same where fan-outs multiply: a service of one cloud asks the other service.
local function nested_fanouts(fanouts)
  if #fanouts < 2 then
    return
  end
  local by_labels
  for _, fanout in ipairs(fanouts) do
    if fanout.labels and by_labels then
      return "only one service may have '&['", fanout.column
    end
    by_labels = by_labels or fanout.labels
  end
  for _, fanout in ipairs(fanouts) do
    if fanout.names > MAX_NESTED_NAMES then
      return TOO_MANY_NAMES, fanout.column
    end
  end
end


local function end_binding(scan)
  local problem = must_be_outside(scan, "the end of a binding")
  if problem then
    return problem
  elseif not scan.service then
    return (scan.kept[1] and "':'" or "a binding") .. " is missing"
  elseif not scan.kept[1] then
    return "an expression is missing for '" .. scan.service .. "'"
  end
  if scan.fanout.sign then
    local refused, column = end_fanout(scan)
    if refused then
      return refused, column
    end
  end
  scan.bindings[scan.service] = concat(scan.kept)
  start_side(scan, nil)
end


local function count(fanout, char, class, last, column)
  if char == "&" or char == "^" then
    if not fanout.sign then
      fanout.sign, fanout.column = char, column
    end
  elseif class == NAME and not (last and CLASS[byte(last)] == NAME) then
    fanout.names = fanout.names + 1
  end
end


local function keep(scan, char, class)
  local kept = scan.kept
  local last = kept[#kept]
  if char == "{" or char == "}" then
    return "'" .. char .. "' stands only around the whole scope"
  elseif (char == "[" and scan.brackets) or (char == "]" and not scan.brackets) then
    return "'" .. char .. "' without its partner"
  elseif scan.gap and class == NAME and last and CLASS[byte(last)] == NAME then
    return "an operator or ';' is missing between two names"
  elseif char == "|" and last == "|" then
    if scan.gap or scan.doubled then
      return "a cloud is missing between two '|'"
    end
    scan.doubled = true
    return
  end
  if char == "[" and last == "&" then
    scan.fanout.labels = true
  end
  if char == "[" or char == "]" then
    scan.brackets = char == "["
  elseif not scan.brackets then
    count(scan.fanout, char, class, last, scan.column)
  end
  kept[#kept + 1] = char
  scan.gap, scan.doubled = false, false
end


-- Takes one character; a sentence where it is refused, and the column of the cause, if not here.
local function feed(scan, char)
  local class = CLASS[byte(char)]
  if class == BLANK then
    scan.gap = true
  elseif class == QUOTE then
    if scan.quote and scan.quote ~= char then
      return "the closing " .. scan.quote .. " is missing before " .. char
    end
    scan.quote = not scan.quote and char or nil
    scan.gap = true
  elseif char == ":" then
    return end_service(scan)
  elseif char == ";" or (char == "," and not scan.brackets) then
    return end_binding(scan)
  else
    return keep(scan, char, class)
  end
end


local function finish(scan)
  if scan.quote then
    return "the closing " .. scan.quote .. " is missing"
  elseif scan.brackets then
    return "']' is missing"
  elseif scan.service or scan.kept[1] then -- else a trailing separator, or nothing at all
    local problem, column = end_binding(scan)
    if problem then
      return problem, column
    end
  end
  return nested_fanouts(scan.fanouts)
end


-- Official service type (or "*") to lexical expression; nil and a sentence where it is refused. `carried`: the
-- text was in a token, which outlives a service type and meets sites that know other ones. Their words stay.
function _M.bindings(text, carried)
  local problem
  text, problem = checked(text)
  if not text then
    return nil, problem
  end
  local first, last = without_braces(text)
  if not first then
    return nil, last
  end
  local scan = { bindings = {}, fanouts = {}, carried = carried, quote = nil, brackets = false }
  start_side(scan, nil)
  local column
  for i = first, last do
    scan.column = i
    problem, column = feed(scan, sub(text, i, i))
    if problem then
      return nil, at(column or i, problem)
    end
  end
  problem, column = finish(scan)
  if problem then
    return nil, at(column or last + 1, problem)
  end
  return scan.bindings
end


function _M.lexical(bindings)
  local parts = {}
  for service, expression in pairs(bindings) do
    parts[#parts + 1] = service
  end
  sort(parts)
  for i, service in ipairs(parts) do
    parts[i] = service .. ":" .. bindings[service]
  end
  return concat(parts, ";")
end


-- Replaces each atom `local` by the origin; what stands in brackets are labels, no atoms.
local function localised(expression, origin)
  if not find(expression, "local", 1, true) then
    return expression
  end
  local parts = {}
  local i, brackets = 1, false
  while i <= #expression do
    local stop = i
    if not brackets and CLASS[byte(expression, i)] == NAME then
      while CLASS[byte(expression, stop + 1)] == NAME do
        stop = stop + 1
      end
    end
    local piece = sub(expression, i, stop)
    if piece == "[" or piece == "]" then
      brackets = piece == "["
    end
    parts[#parts + 1] = piece == "local" and origin or piece
    i = stop + 1
  end
  return concat(parts)
end


-- The bindings and the text with the defaults of the origin in them; nil and a sentence where the
-- text is refused.
function _M.complete(text, origin, carried)
  local bindings, problem = _M.bindings(text, carried)
  if not bindings then
    return nil, problem
  end
  for service, expression in pairs(bindings) do
    bindings[service] = localised(expression, origin)
  end
  bindings["*"] = bindings["*"] or origin
  local completed = _M.lexical(bindings)
  if #completed > MAX_BYTES then
    return nil, format("longer than %d bytes with '*' and 'local' filled in", MAX_BYTES)
  end
  return bindings, completed
end

return _M
