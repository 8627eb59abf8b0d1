"""Which ways through the Lua an input went, for the fuzzer: by itself it sees none of them."""

from collections.abc import Callable, Iterable
from typing import Any

_EDGES = 1 << 14
# counts from line to line; what Lua's compiler has made of a loop would run unseen
_HOOK = """
local first, size = ...
local getinfo, counts, bases, next_base, last = debug.getinfo, {}, { ["=fake_envoy"] = false }, 0, 0
jit.off()
local function hook(_, line)
  local source = getinfo(2, "S").source
  local base = bases[source]
  if base == nil then
    base, next_base = next_base, next_base + 1000
    bases[source] = base
  end
  if base then
    local here = base + line
    local edge = (last * 31 + here) % size
    counts[edge] = (counts[edge] or 0) + 1
    last = here
  end
end
debug.sethook(hook, "l")
return function(trace)
  debug.sethook()
  for edge, count in pairs(counts) do
    for _ = 1, math.min(count, 40) do
      trace(first + edge)
    end
  end
  counts, last = {}, 0
  debug.sethook(hook, "l")
end
"""


def led(
    atheris: Any, check: Callable[[bytes], None], states: Iterable[Callable[[str], Any]]
) -> Callable[[bytes], None]:
    """The check, which tells the fuzzer which ways through the Lua it went.

    `states`: how something is run in each Lua state that the check uses.
    """
    first, *_ = [atheris._reserve_counter() for _ in range(_EDGES)]
    flushes = [run(_HOOK.replace("...", f"{first}, {_EDGES}", 1)) for run in states]

    def led_check(data: bytes) -> None:
        try:
            check(data)
        finally:
            for flush in flushes:
                flush(atheris._trace_branch)  # Setup makes it another one

    return led_check
