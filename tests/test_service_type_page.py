"""The page of service types lists exactly the words that are built in."""

import re
from pathlib import Path

from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES

PAGE = (Path(__file__).parents[1] / "docs" / "service-types.md").read_text()


def test_the_table_of_built_in_words_is_complete() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|(.*)\|$", PAGE.partition("## Built-in words")[2], re.M)
    words = {name: set(re.findall(r"`([^`]+)`", aliases)) for name, aliases in rows}

    assert [name for name, _ in rows] == sorted(SERVICE_TYPES)
    assert words == {
        name: {word for word, each in ALIASES.items() if each == name} for name in SERVICE_TYPES
    }
