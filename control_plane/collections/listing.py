"""How long lists are shown: the first few, and how many more there are."""

from collections.abc import Sequence


def listed(
    texts: Sequence[str], most: int, *, total: int | None = None, separator: str = ", "
) -> str:
    """Return the first texts of a list, and how many more there are: "a, b and 3 more".

    Args:
        texts: The list, or its beginning.
        most: How many are named.
        total: The length of the list; None: that of `texts`.
        separator: Between two of them; another one than ", " stands before "and", too.
    """
    named = separator.join(texts[:most])
    hidden = (len(texts) if total is None else total) - min(len(texts), most)
    if hidden <= 0:
        return named
    return f"{named}{' ' if separator == ', ' else separator}and {hidden} more"
