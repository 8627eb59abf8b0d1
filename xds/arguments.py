"""Checks of what the library is given, for errors at the place of the mistake."""

from collections.abc import Awaitable, Iterable

from scopeway.xds.text import shown


def check_names(names: object, what: str) -> None:
    """Let a collection of names pass, but no string, whose members are letters.

    Raises:
        TypeError: it is a string, or nothing with members.
    """
    if isinstance(names, str):
        raise TypeError(
            f"{what} must be a collection of names, not the string {shown(names)!r}: pass "
            f"[{shown(names)!r}]"
        )
    if not isinstance(names, Iterable):
        close_unawaited(names)
        raise TypeError(f"{what} must be a collection of names, not {described(names)}")


def close_unawaited(answer: object) -> None:
    """Give up a coroutine without a warning that nobody has awaited it."""
    close = getattr(answer, "close", None)
    if close is not None and isinstance(answer, Awaitable):
        close()


def described(value: object) -> str:
    """Return what a value is, for whoever passed it by mistake: "a dict", "the class Cluster"."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"
