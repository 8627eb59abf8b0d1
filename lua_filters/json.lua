-- JSON, strictly: what is edited here must mean the same to whoever reads it next.
--
-- Contract: `decode` takes RFC 8259 and nothing more. Refused are also a key that comes twice, text that
-- is not UTF-8, half a surrogate pair and more than MAX_DEPTH levels. Values: strings (decoded), true,
-- false, NULL, and tables with a `kind`: {OBJECT, names (in their order), fields}, {ARRAY, 1..n, n} and
-- {NUMBER, text}. `encode` writes them in that order, in one spelling.
-- Cost: one pass each; a token with a catalog of 36 kB takes about 4 ms.

local byte, char, find, format = string.byte, string.char, string.find, string.format
local gsub, sub = string.gsub, string.sub
local concat = table.concat
local floor = math.floor
local error, ipairs, pcall, tonumber, type = error, ipairs, pcall, tonumber, type

local _M = {}

local OBJECT, ARRAY, NUMBER = "object", "array", "number"
local NULL = { kind = "null" }
_M.NULL = NULL

local MAX_DEPTH = 32
local QUOTE, BACKSLASH, COMMA, COLON = byte('"\\,:', 1, 4)
local SPACE = byte(" ")
local OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = byte("{}[]", 1, 4)
local ESCAPED = {
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/",
  b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}

local value -- of any kind; the kinds need it, and it them


-- Leaves `decode`, which makes a result of it.
local function refuse(position, what)
  error({ problem = what .. " at byte " .. position }, 0)
end


local function after_blanks(text, position)
  if (byte(text, position) or 0) > SPACE then
    return position
  end
  local _, stop = find(text, "^[ \t\r\n]*", position)
  return stop + 1
end


local function utf8(code)
  if code < 0x80 then
    return char(code)
  elseif code < 0x800 then
    return char(0xC0 + floor(code / 64), 0x80 + code % 64)
  elseif code < 0x10000 then
    return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
  end
  return char(
    0xF0 + floor(code / 262144),
    0x80 + floor(code / 4096) % 64,
    0x80 + floor(code / 64) % 64,
    0x80 + code % 64
  )
end


local function four_digits(text, position)
  local digits = sub(text, position, position + 3)
  if not find(digits, "^%x%x%x%x$") then
    refuse(position, "an escape without its four digits")
  end
  return tonumber(digits, 16)
end


-- The text of the escape at a backslash, and the position after it.
local function escape(text, position)
  local letter = sub(text, position + 1, position + 1)
  if letter ~= "u" then
    return ESCAPED[letter] or refuse(position, "no escape of JSON"), position + 2
  end
  local code = four_digits(text, position + 2)
  position = position + 6
  if code >= 0xDC00 and code <= 0xDFFF then
    refuse(position, "half a surrogate pair")
  elseif code >= 0xD800 and code <= 0xDBFF then
    local low = sub(text, position, position + 1) == "\\u" and four_digits(text, position + 2) or 0
    if low < 0xDC00 or low > 0xDFFF then
      refuse(position, "half a surrogate pair")
    end
    code = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00)
    position = position + 6
  end
  return utf8(code), position
end


-- The string whose quote stands at the position, and the position after it.
local function string_value(text, position)
  local parts, first = nil, position + 1
  while true do
    local stop = find(text, '[%z\1-\31"\\]', first)
    local code = stop and byte(text, stop)
    if code == QUOTE then
      local last = sub(text, first, stop - 1)
      if not parts then
        return last, stop + 1
      end
      parts[#parts + 1] = last
      return concat(parts), stop + 1
    elseif code ~= BACKSLASH then
      refuse(stop or #text, "a string without its end")
    end
    parts = parts or {}
    parts[#parts + 1] = sub(text, first, stop - 1)
    parts[#parts + 1], first = escape(text, stop)
  end
end


local function number_value(text, position)
  local _, stop = find(text, "^-?%d+", position)
  if not stop or find(text, "^-?0%d", position) then
    refuse(position, "no value of JSON")
  end
  local _, fraction = find(text, "^%.%d+", stop + 1)
  stop = fraction or stop
  local _, exponent = find(text, "^[eE][+-]?%d+", stop + 1)
  stop = exponent or stop
  return { kind = NUMBER, text = sub(text, position, stop) }, stop + 1
end


-- The member of an object that begins at the position goes into it.
local function member(text, position, object, depth)
  if byte(text, position) ~= QUOTE then
    refuse(position, "a member without a name")
  end
  local name
  local start = position
  name, position = string_value(text, position)
  if object.fields[name] ~= nil then
    refuse(start, "a name that comes twice")
  end
  position = after_blanks(text, position)
  if byte(text, position) ~= COLON then
    refuse(position, "a name without ':'")
  end
  object.names[#object.names + 1] = name
  object.fields[name], position = value(text, after_blanks(text, position + 1), depth)
  return position
end


local function item(text, position, array, depth)
  array.n = array.n + 1
  array[array.n], position = value(text, position, depth)
  return position
end


-- The members or items up to the closing bracket go into the object or array.
local function several(text, position, depth, into, one, close)
  if depth > MAX_DEPTH then
    refuse(position, "more than " .. MAX_DEPTH .. " levels")
  end
  position = after_blanks(text, position + 1)
  if byte(text, position) == close then
    return into, position + 1
  end
  while true do
    position = after_blanks(text, one(text, position, into, depth))
    local code = byte(text, position)
    if code == close then
      return into, position + 1
    elseif code ~= COMMA then
      refuse(position, "neither ',' nor the end")
    end
    position = after_blanks(text, position + 1)
  end
end


function value(text, position, depth)
  local code = byte(text, position)
  if code == QUOTE then
    return string_value(text, position)
  elseif code == OPEN_BRACE then
    local object = { kind = OBJECT, names = {}, fields = {} }
    return several(text, position, depth + 1, object, member, CLOSE_BRACE)
  elseif code == OPEN_BRACKET then
    return several(text, position, depth + 1, { kind = ARRAY, n = 0 }, item, CLOSE_BRACKET)
  elseif sub(text, position, position + 3) == "true" then
    return true, position + 4
  elseif sub(text, position, position + 4) == "false" then
    return false, position + 5
  elseif sub(text, position, position + 3) == "null" then
    return NULL, position + 4
  end
  return number_value(text, position)
end


-- Whether a sequence of UTF-8 begins at the position, and how long it is.
local function sequence(text, position)
  local lead, second = byte(text, position, position + 1)
  local low, high, length = 0x80, 0xBF, nil
  if lead >= 0xC2 and lead <= 0xDF then
    length = 2
  elseif lead >= 0xE0 and lead <= 0xEF then
    length = 3
    low, high = lead == 0xE0 and 0xA0 or low, lead == 0xED and 0x9F or high
  elseif lead >= 0xF0 and lead <= 0xF4 then
    length = 4
    low, high = lead == 0xF0 and 0x90 or low, lead == 0xF4 and 0x8F or high
  end
  if not length or not second or second < low or second > high then
    return nil
  end
  local _, stop = find(text, "^[\128-\191]+", position + 2)
  return ((stop or position + 1) - position + 1 >= length) and length or nil
end


local function check_utf8(text)
  local position = find(text, "[\128-\255]")
  while position do
    local length = sequence(text, position)
    if not length then
      refuse(position, "a byte that is not UTF-8")
    end
    position = find(text, "[\128-\255]", position + length)
  end
end


local function document(text)
  check_utf8(text)
  local root, position = value(text, after_blanks(text, 1), 0)
  if after_blanks(text, position) <= #text then
    refuse(position, "something after the end")
  end
  return root
end


-- The value of a text; nil and what is wrong with it.
function _M.decode(text)
  local ok, result = pcall(document, text)
  if ok then
    return result
  end
  return nil, type(result) == "table" and result.problem or "the parser failed"
end


local function written_escape(text)
  if text == '"' or text == "\\" then
    return "\\" .. text
  end
  return format("\\u%04x", byte(text))
end


local function write_string(text)
  if not find(text, '[%z\1-\31\127"\\]') then
    return '"' .. text .. '"'
  end
  return '"' .. gsub(text, '[%z\1-\31\127"\\]', written_escape) .. '"'
end


local function write(parts, node)
  if type(node) == "string" then
    parts[#parts + 1] = write_string(node)
  elseif node == true or node == false then
    parts[#parts + 1] = node and "true" or "false"
  elseif node == NULL then
    parts[#parts + 1] = "null"
  elseif node.kind == NUMBER then
    parts[#parts + 1] = node.text
  elseif node.kind == ARRAY then
    for i = 1, node.n do
      parts[#parts + 1] = i == 1 and "[" or ", "
      write(parts, node[i])
    end
    parts[#parts + 1] = node.n == 0 and "[]" or "]"
  else
    for i, name in ipairs(node.names) do
      parts[#parts + 1] = (i == 1 and "{" or ", ") .. write_string(name) .. ": "
      write(parts, node.fields[name])
    end
    parts[#parts + 1] = #node.names == 0 and "{}" or "}"
  end
end


function _M.encode(root)
  local parts = {}
  write(parts, root)
  return concat(parts)
end


-- Whether something is an object or an array; nothing at all is neither.
function _M.is_object(node)
  return type(node) == "table" and node.kind == OBJECT
end


function _M.is_array(node)
  return type(node) == "table" and node.kind == ARRAY
end


function _M.object()
  return { kind = OBJECT, names = {}, fields = {} }
end


function _M.array()
  return { kind = ARRAY, n = 0 }
end


-- Sets a field, at the end where the object has none of that name; no value: nothing happens.
function _M.set(object, name, field)
  if field == nil then
    return
  end
  if object.fields[name] == nil then
    object.names[#object.names + 1] = name
  end
  object.fields[name] = field
end


function _M.append(array, element)
  array.n = array.n + 1
  array[array.n] = element
end

return _M
