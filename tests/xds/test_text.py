"""Texts of clients in logs and errors."""

import pytest

from scopeway.xds.text import SHOWN, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("edge-1/käse 雲", "edge-1/käse 雲"),
        ("a\nb\r\tc\0", r"a\nb\r\tc\x00"),
        ("\x1b[31mred\x9b0m\x7f", r"\x1b[31mred\x9b0m\x7f"),
        ("a\u202eb\u2066\u200b\ufeff", r"a\u202eb\u2066\u200b\ufeff"),
        ("a\u2028b\u2029\x85", r"a\u2028b\u2029\x85"),
        ("\ud800", r"\ud800"),
    ],
    ids=["plain", "lines", "escapes", "directions", "separators", "surrogate"],
)
def test_unprintable_characters_are_escaped(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert shown(text).encode().decode().isprintable()


def test_a_long_text_is_cut() -> None:
    assert shown("a" * SHOWN) == "a" * SHOWN
    assert shown("a" * (SHOWN + 1)) == f"{'a' * SHOWN}… ({SHOWN + 1} characters)"
    assert shown("\n" * 9, 10) == r"\n" * 5 + "… (9 characters)"
    assert len(shown("\U0001f600\n" * 100_000)) < SHOWN + 30
