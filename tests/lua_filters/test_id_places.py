"""The table of places in docs/foreign-ids.md equals that of the Lua."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "foreign-ids.md"


def rows(places: Any) -> Iterator[str]:
    for service in ("image", "compute", "block-storage", "network"):
        of_service = places[service]
        for path in of_service.paths.values():
            yield f"| {service} | path `{path}` | moved |"
        for name in of_service.queries.values():
            yield f"| {service} | query `{name}` | moved |"
        for body in of_service.bodies.values():
            method, path, name = body.values()
            written = f"`{method}` of anything" if path == "**" else f"`{method} {path}`"
            yield f"| {service} | {written}: `{name}` | moved |"
        for path, why in (of_service.refused or {}).items():
            yield f"| {service} | path `{path}` | refused, 501: {why} |"


def test_the_documentation_lists_every_place_of_an_id(modules: Any) -> None:
    places = modules["id_places"]
    table = re.search(r"<!-- places -->\n\n.*\n.*\n((?:\|.*\n)+)", DOCUMENT.read_text())

    assert table
    assert sorted(table[1].splitlines()) == sorted(rows(places))
    assert len(list(places)) == 4
