"""What a query orders by, and the keys of items, honest and hostile."""

import contextlib
import json
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.collector.listing.items import Malformed, read_page
from scopeway.control_plane.collector.listing.sort_order import (
    MAX_KEYS,
    MAX_TEXT,
    InvalidOrder,
    SortOrder,
    sort_order,
)
from scopeway.control_plane.collector.messages.service_lists import ServiceList

DEFAULTS = [("created_at", True), ("id", True)]
LIST = ServiceList(key="")
BY_NAME = SortOrder((("name", False),))


def order_of(query: str) -> tuple[tuple[str, bool], ...]:
    return sort_order(parse_qsl(query, keep_blank_values=True), DEFAULTS).fields


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("", [("created_at", True), ("id", True)]),
        ("sort_dir=asc", [("created_at", False), ("id", False)]),
        ("sort_key=name", [("name", True), ("created_at", True), ("id", True)]),
        ("sort_key=name&sort_dir=asc", [("name", False), ("created_at", False), ("id", False)]),
        ("sort_key=name&sort_key=id", [("name", True), ("id", True), ("created_at", True)]),
        (
            "sort_key=name&sort_dir=asc&sort_key=id&sort_dir=desc",
            [("name", False), ("id", True), ("created_at", False)],
        ),
        (
            "sort_key=name&sort_key=id&sort_dir=asc",
            [("name", False), ("id", False), ("created_at", False)],
        ),
        ("sort=name", [("name", True), ("created_at", True), ("id", True)]),
        ("sort=name:asc,id:desc", [("name", False), ("id", True), ("created_at", False)]),
        ("sort=name:ASC,%20id", [("name", False), ("id", True), ("created_at", False)]),
        ("sort=name:asc&sort_key=id", [("name", False), ("created_at", False), ("id", False)]),
        ("sort=name:asc,name:desc", [("name", False), ("created_at", False), ("id", False)]),
        ("sort=&sort_key=name", [("name", True), ("created_at", True), ("id", True)]),
    ],
)
def test_a_query_gives_keys_and_directions(query: str, fields: list[tuple[str, bool]]) -> None:
    assert list(order_of(query)) == fields


def test_a_service_may_have_another_default_direction_and_other_field_names() -> None:
    query = [("sort_key", "created_at")]
    order = sort_order(query, [("id", False)], descends=False, renamed={"created_at": "created"})
    assert order.fields == (("created", False), ("id", False))


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("sort=" + ",".join("abcdefghi"), "has 9 sort keys, and at most 8"),
        ("sort=" + "," * 10_000, "has 9 sort keys, and at most 8"),
        ("&".join(f"sort_key={each}" for each in "abcdefghi"), "has 9 sort keys"),
        ("sort=name:up", "is 'asc' or 'desc', not 'up'"),
        ("sort_dir=up", "is 'asc' or 'desc', not 'up'"),
        ("sort_dir=asc&sort_dir=asc", "2 sort directions for 0 sort keys"),
        ("sort_key=a&sort_dir=asc&sort_dir=asc", "2 sort directions for 1 sort keys"),
        ("sort_key=", "1 to 64 characters, not 0"),
        ("sort=name,", "1 to 64 characters, not 0"),
        ("sort=" + "x" * 65, "1 to 64 characters, not 65"),
    ],
)
def test_an_order_that_cannot_be_merged_is_refused(query: str, sentence: str) -> None:
    with pytest.raises(InvalidOrder, match=sentence):
        order_of(query)


def test_the_limits_of_an_order_can_be_used() -> None:
    assert len(order_of("sort=" + ",".join("abcdefgh"))) == MAX_KEYS + 2
    assert order_of("sort=" + "x" * 64)[0] == ("x" * 64, True)


@given(st.text(), st.text())
def test_any_query_is_read_or_refused(sort: str, direction: str) -> None:
    for query in ([("sort", sort)], [("sort_key", sort), ("sort_dir", direction)]):
        with contextlib.suppress(InvalidOrder):
            sort_order(query, DEFAULTS)


def keyed(order: SortOrder, *items: object) -> list[str]:
    found = order.items(read_page(json.dumps(items).encode(), LIST).items)
    return [each.id for each in sorted(found, key=lambda each: each.key)]


VALUES = [None, False, True, -1, 1.5, 2, 10**30, "", "A", "a", "é"]


def test_null_is_the_lowest_and_types_do_not_mix() -> None:
    items = [{"id": str(at), "name": value} for at, value in enumerate(VALUES)]
    up, down = SortOrder((("name", False),)), SortOrder((("name", True),))
    in_order = [str(at) for at in range(len(VALUES))]
    assert keyed(up, *reversed(items)) == in_order
    assert keyed(down, *items) == in_order[::-1]


def test_several_keys_each_have_their_direction() -> None:
    order = SortOrder((("size", True), ("name", False)))
    items = [
        {"id": "1", "size": 1, "name": "b"},
        {"id": "2", "size": 2, "name": "b"},
        {"id": "3", "size": 2, "name": "a"},
        {"id": "4"},
    ]
    assert keyed(order, *items) == ["3", "2", "1", "4"]


def test_ids_order_equal_values_in_the_direction_of_the_last_key() -> None:
    items = [{"id": "1", "name": "x"}, {"id": "2", "name": "x"}]
    assert keyed(SortOrder((("name", False),)), *items) == ["1", "2"]
    assert keyed(SortOrder((("name", True),)), *items) == ["2", "1"]


def test_the_first_id_field_that_an_item_has_is_its_id() -> None:
    order = SortOrder((), id_fields=("name", "subdir"))
    items = order.items(read_page(b'[{"name": "b"}, {"subdir": "a/"}]', LIST).items)
    assert [each.id for each in items] == ["b", "a/"]
    assert items[1].key < items[0].key


HOSTILE = {
    "no array": b'{"id": "1"}',
    "no json": b"<html>",
    "empty": b"",
    "cut": b'[{"id": "1"',
    "no id": b'[{"name": "a"}]',
    "null as id": b'[{"id": null}]',
    "number as id": b'[{"id": 1}]',
    "list as id": b'[{"id": ["1"]}]',
    "no object": b'["1"]',
    "nested value": b'[{"id": "1", "name": {"a": 1}}]',
    "list as value": b'[{"id": "1", "name": [1]}]',
    "number too large": b'[{"id": "1", "name": ' + b"1" * 41 + b"}]",
    "number of 5,000 digits": b'[{"id": "1", "name": ' + b"1" * 5000 + b"}]",
    "infinite": b'[{"id": "1", "name": 1e999}]',
    "not a number": b'[{"id": "1", "name": NaN}]',
    "surrogate": b'[{"id": "1", "name": "\\ud800"}]',
    "no unicode": b'[{"id": "1", "name": "\xff"}]',
    "long text": b'[{"id": "1", "name": "' + b"x" * (MAX_TEXT + 1) + b'"}]',
    "long id": b'[{"id": "' + b"x" * (MAX_TEXT + 1) + b'"}]',
    "deep": b'[{"id": "1", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
}


@pytest.mark.parametrize("listing", HOSTILE.values(), ids=HOSTILE.keys())
def test_items_that_cannot_be_ordered_are_malformed(listing: bytes) -> None:
    with pytest.raises(Malformed) as error:
        BY_NAME.items(read_page(listing, LIST).items)
    assert len(str(error.value)) < 300


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_value_is_ordered_or_malformed(value: object) -> None:
    listing = json.dumps([{"id": "1", "name": value}, {"id": "2", "name": 5}]).encode()
    try:
        first, second = BY_NAME.items(read_page(listing, LIST).items)
    except Malformed:
        return
    assert (first.key < second.key) != (second.key < first.key)


@pytest.mark.parametrize(
    ("marker", "place"),
    [("2", 2), ("4", 4), ("unknown", 0), (None, 0), ("text", 0), ("first", 1)],
)
def test_the_items_behind_a_marker_begin_behind_the_item_of_that_id(
    marker: str | None, place: int
) -> None:
    listing = b'[{"name": "first"}, {"id": "2"}, {"id": "3", "x": "text"}, {"id": "4"}]'
    order = SortOrder((), id_fields=("id", "name"))
    assert order.place_behind(read_page(listing, LIST), marker) == place


def test_a_marker_is_no_pattern() -> None:
    page = read_page(b'[{"id": "a"}, {"id": ".*["}]', LIST)
    assert BY_NAME.place_behind(page, ".*[") == 2


def test_a_marker_may_be_written_with_escapes() -> None:
    page = read_page(b'[{"id": "a"}, {"id": "\\u00e9\\/b"}]', LIST)
    assert BY_NAME.place_behind(page, "é/b") == 2
