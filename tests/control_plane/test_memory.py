import asyncio

import pytest

from control_plane import memory


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stand in for the C library."""
    calls: list[int] = []

    class Library:
        malloc_trim = calls.append

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: Library)
    monkeypatch.setattr(memory, "QUIET", 0)
    return calls


def run(*sizes: int) -> None:
    """Let it look at each of the sizes, one after the other."""
    left = list(sizes)

    def size() -> int:
        if not left:
            raise LookupError
        return left.pop(0)

    with pytest.raises(LookupError):
        asyncio.run(memory.give_back(size))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((0, 0, 0), 0),
        ((0, 5, 5, 5), 1),
        ((0, 5, 6, 7), 0),
        ((0, 5, 5, 5, 0, 0, 0), 2),
    ],
)
def test_memory_is_given_back_once_after_each_storm(
    trims: list[int], sizes: tuple[int, ...], expected: int
) -> None:
    run(*sizes)

    assert len(trims) == expected
