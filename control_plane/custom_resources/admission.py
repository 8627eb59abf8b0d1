"""Admission policies."""

from typing import Any


def policies() -> dict[str, list[Any]]:
    """Return the documents of each policy, by its name."""
    return {}
