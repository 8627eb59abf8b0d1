"""JSON in Lua: every text that it accepts, it decodes as Python does."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

REFUSED = [
    *("", " ", "nul", "tru", "nulll", "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".5", "1e"),
    *("0x1", "1 2", "[", "]", "{", "}", "[1,]", "[,1]", "[1 2]", '{"a"}', '{"a":}', '{"a":1,}'),
    *(
        '{"a" 1}',
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        '{"a":1} x',
        '{"a":1}{}',
        "[1]]",
        "//x\n1",
        "[1]\x0c",
    ),
    *('"', '"a', '"\\"', '"\\x"', '"\\u12"', '"\\u12g4"', '"\\ud800"', '"\\udc00"'),
    *(
        '"\\ud800\\u0041"',
        '"\\ud800x"',
        '"a\nb"',
        '"a\x00b"',
        '"\x1f"',
        "\ufeff{}",
        "\x00",
        "\x0b1",
    ),
    *('{"a":1,"a":2}', '{"roles":1,"\\u0072oles":2}', '[{"":1,"":2}]'),
    "[" * 33 + "]" * 33,
    '{"a":' * 33 + "1" + "}" * 33,
]
NOT_UTF8 = [
    *(
        b'"\x80"',
        b'"\xc3"',
        b'"\xc0\xaf"',
        b'"\xe0\x80\xaf"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
    ),
    *(b'"\xf8\x88\x80\x80\x80"', b'"\xe2\x82"', b'"\xff"', b'"\xf0\x9f\x98', b"\xef\xbb\xbf{}"),
    *("{}".encode("utf-16"), "{}".encode("utf-16-le"), "{}".encode("utf-32")),
]
TAKEN = [
    *(
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.5",
        "-1.5e-10",
        "1E+2",
        '""',
        "[]",
        "{}",
        " [ ] ",
        "\r\n\t{ }",
    ),
    *(
        '[1,[2,[true,null]],{"a":{"b":[]}}]',
        '"\\"\\\\\\/\\b\\f\\n\\r\\t"',
        '"\\u0000\\u0041\\u20AC"',
    ),
    *('"\\ud83d\\ude00"', '"\u00e9\u20ac\U0001f600\x7f"', '{"":"","\\u0072oles":[]}'),
    "[" * 32 + "]" * 32,
    "123456789012345678901234567890.5",
]


@pytest.fixture(scope="module")
def lua(new_modules: Any) -> Any:
    return new_modules()["json"]


def again(lua: Any, text: bytes) -> Any:
    """What Python makes of the text that Lua makes of it."""
    value = lua.decode(text.decode("latin-1"))
    assert not isinstance(value, tuple), value
    return json.loads(lua.encode(value).encode("latin-1"))


def strictly(text: bytes) -> Any:
    """What Python reads, without what it is generous about."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return json.loads(text.decode("utf-8"), object_pairs_hook=once)


@pytest.mark.parametrize("text", [*(each.encode() for each in REFUSED), *NOT_UTF8])
def test_malformed_json_is_refused(lua: Any, text: bytes) -> None:
    refused = lua.decode(text.decode("latin-1"))

    assert refused[0] is None
    assert " at byte " in refused[1] or " levels" in refused[1]


@pytest.mark.parametrize("text", [each.encode() for each in TAKEN])
def test_json_is_decoded_as_by_python(lua: Any, text: bytes) -> None:
    assert again(lua, text) == strictly(text)


def test_encoding_keeps_the_order_of_fields_and_the_text_of_numbers(lua: Any) -> None:
    text = '{"z": 1.50, "a": [1e5, -0], "m": 12345678901234567890}'

    assert lua.encode(lua.decode(text)) == text


def test_escapes_are_encoded_in_one_way(lua: Any) -> None:
    assert lua.encode(lua.decode('"\\u0061\\/\\n\\u001F\\u007f\\u00e9"')) == (
        '"a/\\u000a\\u001f\\u007f\xc3\xa9"'
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)  # fmt: skip


@given(value=JSON, ascii_only=st.booleans(), indent=st.none() | st.just(1))
def test_any_json_value_is_decoded_and_encoded_unchanged(
    lua: Any, value: Any, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()

    assert again(lua, text) == value


@given(text=st.binary(max_size=40) | st.text('{}[]",:\\u0019eE+-. truefalsn\n', max_size=40))
def test_every_accepted_text_is_decoded_as_by_python(lua: Any, text: bytes | str) -> None:
    encoded = text if isinstance(text, bytes) else text.encode()
    if isinstance(lua.decode(encoded.decode("latin-1")), tuple):
        return

    assert again(lua, encoded) == strictly(encoded)
