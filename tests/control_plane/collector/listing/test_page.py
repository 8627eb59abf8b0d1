"""Any split of a sorted list over clouds comes back whole in pages, each item once, in order."""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scopeway.control_plane.collector.listing import items
from scopeway.control_plane.collector.listing.items import Malformed, read_page
from scopeway.control_plane.collector.listing.merge import ITEM_BYTES, Item
from scopeway.control_plane.collector.listing.page import (
    MAX_HELD,
    MAX_ROUNDS,
    PageBuilder,
    SortedPage,
)
from scopeway.control_plane.collector.listing.sort_order import SortOrder
from scopeway.control_plane.collector.messages.service_lists import ServiceList

LIST = ServiceList(key="")
Row = dict[str, Any]
Fields = tuple[tuple[str, bool], ...]

ORDERS: list[Fields] = [
    (("name", False),),
    (("name", True),),
    (("name", False), ("id", True)),
    (("size", True), ("name", False)),
    (("id", False),),
]


@dataclass
class FakeCloud:
    """A service that lists sorted pages, with the habits of some real ones."""

    rows: Sequence[Row]
    most: int = 5
    """Its own most items of a page."""
    ignores_limit: bool = False
    ignores_paging: bool = False
    says_more: bool = True
    """Whether it gives next links."""
    asked: list[tuple[int, str | None]] = field(default_factory=list)

    def answer(self, limit: int, marker: str | None) -> tuple[items.CloudPage, bool | None]:
        self.asked.append((limit, marker))
        rows = list(self.rows)
        if self.ignores_paging:
            return page_of(rows), False
        if marker is not None:
            rows = rows[[each["id"] for each in rows].index(marker) + 1 :]
        size = len(rows) if self.ignores_limit else min(limit, self.most)
        more = len(rows) > size if self.says_more else None
        return page_of(rows[:size]), more


def page_of(rows: Sequence[Row]) -> items.CloudPage:
    return read_page(json.dumps(list(rows)).encode(), LIST)


def row_of(item: Item) -> Row:
    row: Row = json.loads(b"{" + item.tail.removeprefix(b", "))
    return row


def build(
    order: SortOrder,
    clouds: dict[str, FakeCloud],
    positions: dict[str, str | None],
    limit: int,
    down: Callable[[str], bool] = lambda cloud: False,
    **options: Any,
) -> SortedPage:
    builder = PageBuilder(order, list(clouds), positions, limit, **options)
    while questions := builder.questions():
        for each in questions:
            if down(each.cloud):
                builder.fail(each.cloud)
                continue
            try:
                builder.add(each.cloud, *clouds[each.cloud].answer(each.limit, each.marker))
            except Malformed:
                builder.fail(each.cloud)
    return builder.page()


def pages_of(
    order: SortOrder,
    clouds: dict[str, FakeCloud],
    limit: int,
    down: Callable[..., bool] = lambda cloud, page: False,
    **options: Any,
) -> list[SortedPage]:
    pages: list[SortedPage] = []
    positions: dict[str, str | None] = {}
    more = True
    while more:
        assert len(pages) < 300, "the pages never end"
        down_now = partial(down, page=len(pages))
        pages.append(build(order, clouds, positions, limit, down_now, **options))
        positions, more = pages[-1].positions, pages[-1].more
    return pages


ids = st.integers(0, 40).map(lambda n: str(uuid.uuid5(uuid.NAMESPACE_OID, str(n))))
worlds = st.lists(st.lists(ids, unique=True, max_size=14), min_size=1, max_size=6)


def row(item: str, values: int) -> Row:
    """Return an item whose values follow from its id: replicas have equal ones."""
    number = int(item[:8], 16)
    name = None if number % 7 == 0 else str(number % values)
    return {"name": name, "id": item, "size": number % values}


def sorted_rows(rows: Sequence[Row], fields: Fields) -> list[Row]:
    found = SortOrder(fields).items(page_of(rows).items)
    keys = {each.id: each.key for each in found}
    return sorted(rows, key=lambda each: keys[each["id"]])


@st.composite
def cloud_sets(draw: st.DrawFn) -> tuple[Fields, dict[str, FakeCloud], list[Row]]:
    fields = draw(st.sampled_from(ORDERS))
    values = draw(st.integers(1, 4))
    clouds = {}
    union: dict[str, Row] = {}
    for number, members in enumerate(draw(worlds)):
        rows = [row(each, values) for each in members]
        union.update((each["id"], each) for each in rows)
        clouds[f"c{number}"] = FakeCloud(
            sorted_rows(rows, fields),
            most=draw(st.integers(1, 6)),
            ignores_limit=draw(st.booleans()),
            ignores_paging=draw(st.booleans()),
        )
    return fields, clouds, sorted_rows(list(union.values()), fields)


@settings(max_examples=120, deadline=None)
@given(cloud_sets(), st.integers(1, 12), st.sampled_from([MAX_HELD, 12 * ITEM_BYTES, 1]))
def test_pages_are_the_sorted_union_each_item_once(
    made: tuple[Fields, dict[str, FakeCloud], list[Row]], limit: int, max_held: int
) -> None:
    fields, clouds, union = made
    pages = pages_of(SortOrder(fields), clouds, limit, max_held=max_held)
    rows = [row_of(item) for page in pages for _, item in page.items]
    assert rows == union
    assert all(len(page.items) <= limit for page in pages)


@settings(max_examples=50, deadline=None)
@given(cloud_sets(), st.integers(1, 12))
def test_each_item_names_all_clouds_that_have_it(
    made: tuple[Fields, dict[str, FakeCloud], list[Row]], limit: int
) -> None:
    fields, clouds, _ = made
    for page in pages_of(SortOrder(fields), clouds, limit):
        for names, item in page.items:
            holders = [
                name for name, cloud in clouds.items() if item.id in [r["id"] for r in cloud.rows]
            ]
            assert names == holders


@settings(max_examples=80, deadline=None)
@given(cloud_sets(), st.integers(1, 12), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 6))))
def test_a_cloud_that_fails_on_a_page_loses_nothing(
    made: tuple[Fields, dict[str, FakeCloud], list[Row]], limit: int, failures: set[tuple[int, int]]
) -> None:
    fields, clouds, union = made
    steady = FakeCloud([{"id": f"z{n:03}", "name": "~", "size": -1} for n in range(100)])
    clouds = {**clouds, "steady": FakeCloud(sorted_rows(steady.rows, fields))}
    down = {(f"c{cloud}", page) for cloud, page in failures}
    pages = pages_of(SortOrder(fields), clouds, limit, lambda cloud, page: (cloud, page) in down)
    seen = [item.id for page in pages for _, item in page.items]
    assert set(seen) == {each["id"] for each in [*union, *clouds["steady"].rows]}
    for cloud in clouds.values():
        own = {each["id"] for each in cloud.rows}
        assert own <= set(seen)


@settings(max_examples=80, deadline=None)
@given(worlds, st.integers(1, 12), st.randoms(use_true_random=False))
def test_nothing_is_lost_where_clouds_order_in_another_way(
    world: list[list[str]], limit: int, random: Any
) -> None:
    clouds = {}
    for number, members in enumerate(world):
        rows = [row(each, 3) for each in members]
        random.shuffle(rows)
        clouds[f"c{number}"] = FakeCloud(rows)
    pages = pages_of(SortOrder((("name", False),)), clouds, limit)
    for page in pages:
        page_ids = [item.id for _, item in page.items]
        assert len(page_ids) == len(set(page_ids))
    for name, cloud in clouds.items():
        given_out = [item.id for page in pages for names, item in page.items if name in names]
        assert sorted(given_out) == sorted(each["id"] for each in cloud.rows)


def numbered(prefix: str, count: int) -> list[Row]:
    return [{"id": f"{prefix}{number:05}", "name": "x" * 100} for number in range(count)]


BY_ID = SortOrder((("id", False),))


@given(worlds, st.integers(1, 12))
def test_equal_ids_are_separate_items_where_a_list_has_no_replicas(
    world: list[list[str]], limit: int
) -> None:
    clouds = {
        f"c{number}": FakeCloud(sorted_rows([row(each, 3) for each in members], ORDERS[0]))
        for number, members in enumerate(world)
    }
    pages = pages_of(SortOrder(ORDERS[0]), clouds, limit, replicas=False)
    items = [(names, item.id) for page in pages for names, item in page.items]
    assert sorted(items) == sorted(([f"c{n}"], each) for n, own in enumerate(world) for each in own)


def test_a_page_of_1000_clouds_asks_each_for_two_items_first() -> None:
    clouds = {f"c{n}": FakeCloud(numbered(f"{n:04}/", 100), most=1000) for n in range(1000)}
    page = build(BY_ID, clouds, {}, 100)
    assert [item.id for _, item in page.items] == [f"0000/{n:05}" for n in range(100)]
    assert all(cloud.asked[0] == (2, None) for cloud in clouds.values())
    assert [limit for limit, _ in clouds["c0"].asked] == [2, 8, 32, 100]
    assert sum(len(cloud.asked) for cloud in clouds.values()) < 1100


def test_a_cloud_that_ends_exactly_at_the_page_is_not_asked_again() -> None:
    clouds = {"a": FakeCloud(numbered("a", 9)), "b": FakeCloud(numbered("b", 9))}
    page = build(BY_ID, clouds, {}, 2)
    assert [len(each.asked) for each in clouds.values()] == [1, 1]
    assert page.positions == {"a": "a00001"}


def test_a_full_page_has_no_next_one_where_all_clouds_are_done() -> None:
    page = build(BY_ID, {"a": FakeCloud(numbered("a", 1)), "b": FakeCloud([])}, {}, 1)
    assert page.positions == {"a": None, "b": None}
    assert not page.more


def test_a_cloud_without_next_links_is_asked_until_it_gives_less() -> None:
    cloud = FakeCloud(numbered("a", 10), most=100, says_more=False)
    pages = pages_of(BY_ID, {"a": cloud}, 5)
    assert [len(page.items) for page in pages] == [5, 5, 0]


def test_a_cloud_that_gives_one_item_at_a_time_makes_the_page_shorter() -> None:
    clouds = {"a": FakeCloud(numbered("a", 30), most=1), "b": FakeCloud(numbered("b", 30))}
    page = build(BY_ID, clouds, {}, 20)
    assert len(clouds["a"].asked) == MAX_ROUNDS
    assert [item.id for _, item in page.items] == [f"a{n:05}" for n in range(MAX_ROUNDS)]
    assert page.more
    pages = pages_of(BY_ID, clouds, 20)
    assert len([item for each in pages for item in each.items]) == 60


def test_what_a_cloud_gave_before_it_failed_stays() -> None:
    clouds = {"a": FakeCloud(numbered("a", 30)), "b": FakeCloud(numbered("b", 3))}
    asked: list[str] = []

    def down(cloud: str) -> bool:
        asked.append(cloud)
        return asked.count("a") > 1 and cloud == "a"

    page = build(BY_ID, clouds, {}, 6, down)
    assert [item.id for _, item in page.items] == [
        *(f"a{n:05}" for n in range(5)),
        "b00000",
    ]
    assert page.positions == {"a": "a00004", "b": "b00000"}


def test_clouds_that_have_given_nothing_make_no_further_page_when_they_fail() -> None:
    clouds = {"a": FakeCloud(numbered("a", 1)), "b": FakeCloud(numbered("b", 1))}
    page = build(BY_ID, clouds, {}, 5, lambda cloud: cloud == "b")
    assert page.positions == {"a": None}
    assert not page.more


def test_a_cloud_that_fails_midway_is_asked_once_more_after_a_page_with_items() -> None:
    clouds = {"a": FakeCloud(numbered("a", 1)), "b": FakeCloud(numbered("b", 4))}
    positions: dict[str, str | None] = {"b": "b00001"}
    page = build(BY_ID, clouds, positions, 5, lambda cloud: cloud == "b")
    assert (page.positions, page.more) == ({"a": None, "b": "b00001"}, True)
    page = build(BY_ID, clouds, page.positions, 5, lambda cloud: cloud == "b")
    assert (page.items, page.positions, page.more) == ([], {"a": None, "b": "b00001"}, False)


def test_a_cloud_that_has_more_but_gives_nothing_is_malformed() -> None:
    builder = PageBuilder(BY_ID, ["a"], {}, 5)
    builder.questions()
    with pytest.raises(Malformed, match="without items that says there are more"):
        builder.add("a", page_of([]), True)


def test_a_cloud_that_ignores_the_limit_is_not_held_whole() -> None:
    builder = PageBuilder(BY_ID, ["a", "b"], {}, 4)
    builder.questions()
    builder.add("a", page_of(numbered("a", 1000)), False)
    builder.add("b", page_of([]), False)
    assert builder.held < 4 * 1000
    assert builder.questions() == []
    page = builder.page()
    assert len(page.items) == 4
    assert page.positions == {"a": "a00003", "b": None}
    assert page.more


def test_what_lies_behind_the_page_is_dropped_while_others_still_come() -> None:
    clouds = {f"c{n}": FakeCloud(numbered(f"{n:03}/", 9), most=1000) for n in range(100)}
    builder = PageBuilder(BY_ID, list(clouds), {}, 10, max_held=300 * ITEM_BYTES)
    held = []
    for each in reversed(builder.questions()):
        builder.add(each.cloud, *clouds[each.cloud].answer(each.limit, each.marker))
        held.append(builder.held)
    assert max(held) <= 300 * ITEM_BYTES
    assert held[-1] < sum(3 * ITEM_BYTES for _ in clouds)
    assert [each.cloud for each in builder.questions()] == [f"c{n}" for n in range(4)]


def test_a_page_of_4096_clouds_is_held_in_as_much_memory_as_one_of_a_few() -> None:
    builder = PageBuilder(BY_ID, [f"c{n}" for n in range(4096)], {}, 10_000)
    for each in builder.questions():
        builder.add(each.cloud, page_of(numbered(f"{each.cloud}/", 3)), None)
        assert builder.held <= MAX_HELD
    builder.questions()
    assert len(builder.page().items) > 2500


def test_images_that_every_cloud_has_need_no_more_memory_than_those_of_one() -> None:
    clouds = {f"c{n}": FakeCloud(numbered("a", 20), most=100) for n in range(300)}
    builder = PageBuilder(BY_ID, list(clouds), {}, 20)
    while questions := builder.questions():
        for each in reversed(questions):
            rows = [{**row, "of": each.cloud} for row in clouds[each.cloud].rows]
            builder.add(each.cloud, page_of(rows), False)
            assert builder.held < 2 * 20 * ITEM_BYTES + 300 * 20 * 16
    page = builder.page()
    assert [names for names, _ in page.items] == [list(clouds)] * 20
    assert all(row_of(item)["of"] == "c0" for _, item in page.items)


def test_copies_that_are_ordered_differently_are_bounded_too() -> None:
    builder = PageBuilder(SortOrder((("name", True),)), [f"c{n}" for n in range(300)], {}, 50)
    rounds = 0
    while questions := builder.questions():
        rounds += 1
        for number, each in enumerate(questions):
            rows = [{"id": f"i{at}", "name": f"{at:02}-{number:04}"} for at in range(50)]
            builder.add(each.cloud, page_of(rows[::-1]), False)
            assert builder.held <= MAX_HELD
    page = builder.page()
    assert page.items[0][0][0] == "c299"
    assert len({item.id for _, item in page.items}) == len(page.items) > 0
    assert page.more


def test_a_page_ends_early_where_its_items_need_too_much_memory() -> None:
    clouds = {"a": FakeCloud(numbered("a", 100), most=100), "b": FakeCloud(numbered("b", 100))}
    pages = pages_of(BY_ID, clouds, 100, max_held=60 * ITEM_BYTES)
    assert len(pages[0].items) == 35
    assert len([item for page in pages for item in page.items]) == 200


def test_a_page_is_full_where_a_cloud_gives_fewer_than_it_is_asked_for() -> None:
    page = build(BY_ID, {"a": FakeCloud(numbered("a", 10), most=3)}, {}, 8)
    assert len(page.items) == 8


def test_a_cloud_whose_items_were_dropped_is_not_done() -> None:
    rows = {
        "a": [{"id": "x", "name": "a"}, {"id": "p", "name": "b"}],
        "b": [{"id": "m", "name": "y"}, {"id": "y", "name": "z"}],
        "c": [{"id": "m", "name": "0"}],  # the same item, ordered in another way
    }
    builder = PageBuilder(SortOrder((("name", False),)), list(rows), {}, 2, max_held=3 * ITEM_BYTES)
    builder.questions()
    for cloud, own in rows.items():
        builder.add(cloud, page_of(own), False)
    assert builder.questions() == []
    page = builder.page()
    assert [(names, item.id) for names, item in page.items] == [(["c"], "m"), (["a"], "x")]
    assert page.positions == {"a": "x", "c": None}
    assert page.more


def test_texts_that_a_page_is_ordered_by_count_as_memory() -> None:
    order = SortOrder((("name", False),))
    held = []
    for name in ("", "x" * 4000, "é" * 1000):
        builder = PageBuilder(order, ["a"], {}, 2)
        builder.questions()
        builder.add("a", page_of([{"id": "1", "name": name}]), False)
        held.append(builder.held - len(json.dumps({"name": name})))
    assert held[1] - held[0] == 4000
    assert held[2] - held[0] == 4000


def test_a_page_has_one_item_at_least() -> None:
    cloud = FakeCloud(numbered("a", 3), most=100)
    assert [len(page.items) for page in pages_of(BY_ID, {"a": cloud}, 100, max_held=1)] == [1, 1, 1]


def test_the_content_of_an_item_is_checked_when_it_comes() -> None:
    builder = PageBuilder(BY_ID, ["a"], {}, 2)
    builder.questions()
    deep = b'[{"id": "1", "x": ' + b"[" * 70 + b"]" * 70 + b"}]"
    with pytest.raises(Malformed, match="levels of nesting"):
        builder.add("a", read_page(deep, LIST), False)


def test_an_item_that_names_another_cloud_loses_that_field() -> None:
    builder = PageBuilder(BY_ID, ["a"], {}, 2)
    builder.questions()
    forged = b'[{"id": "1", "scopeway:cloud": "b"}]'
    builder.add("a", read_page(forged, LIST), False)
    assert builder.questions() == []
    assert builder.page().items[0][1].tail == b', "id":"1"}'
