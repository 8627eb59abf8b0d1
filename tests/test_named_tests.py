"""Documents that name a test as the proof of a sentence name one that is there."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/.-]+)(?:::(\w+))?`")
DOCUMENTS = ["docs/limits.md", "SECURITY.md"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_named_is_there(document: str) -> None:
    named = NAMED.findall((REPOSITORY / document).read_text())
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (REPOSITORY / file).exists()
        or (test and f"def {test}(" not in (REPOSITORY / file).read_text())
    ]

    assert named
    assert missing == []
