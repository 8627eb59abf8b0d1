-- SHA-256 (FIPS 180-4), for the few short texts whose digest Python computes as well.
--
-- Contract: tests/vectors/digests; `hex(text)` gives 64 lower-case digits. Pure.
-- Cost: some 10 µs compiled, 100 µs interpreted for a short text: namespace.lua keeps the results.

local bit = bit
local band, bnot, bxor = bit.band, bit.bnot, bit.bxor
local ror, rshift, tobit, tohex = bit.ror, bit.rshift, bit.tobit, bit.tohex
local byte, char, rep = string.byte, string.char, string.rep
local floor = math.floor

local _M = {}

local ROUNDS = 64


-- The first 32 bits of the fraction of a number's root.
local function fraction(root)
  return tobit(floor((root - floor(root)) * 4294967296))
end


-- The constants of the standard: of the cube roots of the first 64 primes, and of the square roots of
-- the first eight.
local function constants()
  local round, initial, primes = {}, {}, {}
  local candidate = 2
  while #round < ROUNDS do
    local is_prime = true
    for i = 1, #primes do
      is_prime = is_prime and candidate % primes[i] ~= 0
    end
    if is_prime then
      primes[#primes + 1] = candidate
      round[#round + 1] = fraction(candidate ^ (1 / 3))
      if #initial < 8 then
        initial[#initial + 1] = fraction(candidate ^ 0.5)
      end
    end
    candidate = candidate + 1
  end
  return round, initial
end

local K, INITIAL = constants()


-- The text, a set bit, zeros, and the number of its bits in eight bytes: whole blocks of 64.
local function padded(text)
  local bits = #text * 8
  local size = char(
    band(rshift(bits, 24), 255),
    band(rshift(bits, 16), 255),
    band(rshift(bits, 8), 255),
    band(bits, 255)
  )
  return text .. "\128" .. rep("\0", (55 - #text) % 64) .. "\0\0\0\0" .. size
end


local function schedule(text, start)
  local w = {}
  for i = 1, 16 do
    local b1, b2, b3, b4 = byte(text, start + 4 * i - 4, start + 4 * i - 1)
    w[i] = tobit(b1 * 16777216 + b2 * 65536 + b3 * 256 + b4)
  end
  for i = 17, ROUNDS do
    local x, y = w[i - 15], w[i - 2]
    local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
    local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
    w[i] = tobit(w[i - 16] + s0 + w[i - 7] + s1)
  end
  return w
end


-- Takes a block into the state of eight words.
local function take(state, w)
  local a, b, c, d, e, f, g, h = unpack(state)
  for i = 1, ROUNDS do
    local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
    local t1 = tobit(h + s1 + bxor(band(e, f), band(bnot(e), g)) + K[i] + w[i])
    local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
    local t2 = tobit(s0 + bxor(band(a, b), band(a, c), band(b, c)))
    h, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + t2)
  end
  local words = { a, b, c, d, e, f, g, h }
  for i = 1, 8 do
    state[i] = tobit(state[i] + words[i])
  end
end


function _M.hex(text)
  local state = { unpack(INITIAL) }
  text = padded(text)
  for start = 1, #text, 64 do
    take(state, schedule(text, start))
  end
  local digits = ""
  for i = 1, 8 do
    digits = digits .. tohex(state[i])
  end
  return digits
end

return _M
