"""Pages and items of one cloud."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scopeway.control_plane.collector.listing import items
from scopeway.control_plane.collector.listing.items import Malformed, SeenIds, read_page
from scopeway.control_plane.collector.messages.service_lists import ServiceList

IMAGES = ServiceList(key="images", id="id")


def page(*members: object, **more: object) -> bytes:
    return json.dumps({"images": list(members), **more}).encode()


def nested(levels: int) -> object:
    return json.loads('{"a":' * levels + "1" + "}" * levels)


def checked(body: bytes) -> list[bytes]:
    found = read_page(body, IMAGES)
    found.check()
    return list(found.named("a"))


@pytest.mark.parametrize(
    ("inside", "beyond"),
    [
        (
            page(*[{"text": "x" * 40}] * items.MAX_ITEMS),
            page(*[{"text": "x" * 40}] * (items.MAX_ITEMS + 1)),
        ),
        (page({"a": "x" * (items.MAX_ITEM - 9)}), page({"a": "x" * (items.MAX_ITEM - 8)})),
        (
            b'{"images": [{"\\u0061": "%b"}]}' % (b"x" * (items.MAX_REWRITTEN - 14)),
            b'{"images": [{"\\u0061": "%b"}]}' % (b"x" * (items.MAX_REWRITTEN - 12)),
        ),
        (page(nested(items.MAX_DEPTH)), page(nested(items.MAX_DEPTH + 1))),
        (
            b'{"images": [{"a": %b}]}' % (b"1" * items.MAX_DIGITS),
            b'{"images": [{"a": %b}]}' % (b"1" * (items.MAX_DIGITS + 1)),
        ),
        (b'{"images": [{"a": 1e299}]}', b'{"images": [{"a": 1e309}]}'),
    ],
    ids=["items", "bytes", "escapes", "levels", "digits", "exponent"],
)
def test_a_page_beyond_a_limit_is_malformed(inside: bytes, beyond: bytes) -> None:
    assert checked(inside)
    with pytest.raises(Malformed):
        checked(beyond)


def test_text_that_looks_like_nesting_or_numbers_is_text() -> None:
    item = {"a": "[" * 500 + '"\\', "b": "9" * 400, "c": "1e999", "d": ": 1e999, "}

    (found,) = checked(page(item))

    assert json.loads(found) == {"scopeway:cloud": "a", **item}


@pytest.mark.parametrize(
    ("item", "named"),
    [
        (b"{}", b'{"scopeway:cloud": "a"}'),
        (b"{ }", b'{"scopeway:cloud": "a"}'),
        (b'{ "id": 1}', b'{"scopeway:cloud": "a",  "id": 1}'),
        (b'{"id": 1.50}', b'{"scopeway:cloud": "a", "id": 1.50}'),
    ],
)
def test_an_item_stays_as_it_came_behind_its_cloud(item: bytes, named: bytes) -> None:
    assert checked(b'{"images": [ %b ]}' % item) == [named]


@pytest.mark.parametrize(
    ("more", "marker"),
    [
        ({"next": "/v2/images?marker=5&limit=1"}, "5"),
        ({"next": None}, None),
        ({"next": 5}, None),
        ({"images_links": [{"rel": "previous", "href": "?marker=1"}]}, None),
        ({"images_links": [{"rel": "next", "href": "http://a/?x=1&marker=a%20b"}]}, "a b"),
        ({"links": [{"rel": "next", "href": "?marker=7"}]}, "7"),
        ({"first": "/v2/images?marker=1"}, None),
    ],
)
def test_the_marker_of_the_next_page_is_in_its_link(
    more: dict[str, object], marker: str | None
) -> None:
    assert read_page(page(**more), IMAGES).next_marker == marker


def test_ids_are_remembered_through_the_growth_of_their_table() -> None:
    seen = SeenIds()
    for number in range(5_000):
        if seen.is_full:
            seen.grow()
        assert seen.add(b"%d" % number)

    assert not any(seen.add(b"%d" % number) for number in range(4_999))
    assert seen.size == 8 * 16_384


KEYS = st.sampled_from(["id", "scopeway:cloud", "scopeway:report", "scopeway", "é", "x"]) | st.text(
    max_size=5
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(-1e290, 1e290)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=4), st.booleans())
def test_items_are_those_of_the_cloud_without_fields_of_scopeway(
    members: list[dict[str, Any]], ascii_only: bool
) -> None:
    body = json.dumps({"images": members}, ensure_ascii=ascii_only).encode("utf-8", "replace")

    try:
        found = [json.loads(each) for each in checked(body)]
    except Malformed:  # lone surrogates are no text
        assert "\\ud" in body.decode() or b"?" in body
        return

    assert found == [
        {
            "scopeway:cloud": "a",
            **{key: value for key, value in each.items() if not key.startswith("scopeway:")},
        }
        for each in json.loads(body)["images"]
    ]


BODY = (
    b'{"images": [{"id": "1", "n": [1.5e3, {"a": null}], "t": "\\u00e9\xc3\xa9"}, {}], '
    b'"next": "?marker=1"}'
)
PIECES = [
    *(b"", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"e999", b"9" * 400, b"\xff", b"\n"),
    *(b"\x00", b"NaN", b'"scopeway:cloud": 1, ', b"\\u0073", b"true", b"-"),
]


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(BODY)),
            st.integers(0, 3),
            st.sampled_from(PIECES),
        ),
        max_size=4,
    )
)
@example([(33, 4, b"1e999")])
def test_a_page_with_anything_in_it_is_malformed_or_stays_json(
    changes: list[tuple[int, int, bytes]],
) -> None:
    body = BODY
    for at, dropped, inserted in changes:
        body = body[:at] + inserted + body[at + dropped :]
    try:
        found = checked(body)
    except Malformed:
        return

    for each in found:
        parsed = json.loads(each.decode(), parse_constant=pytest.fail)
        assert parsed["scopeway:cloud"] == "a"
