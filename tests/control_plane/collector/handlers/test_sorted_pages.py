"""Sorted and limited pages: asked in small pieces, merged, and gone on with by markers."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collected import Cloud, FakeFanOut, FakeWriter, answer, fanout
from scopeway.control_plane.collector.handlers.sorted_pages import sorted_page
from scopeway.control_plane.collector.listing.cursors import Cursors
from scopeway.control_plane.collector.listing.markers import PREFIX, read_marker
from scopeway.control_plane.collector.messages.answer import Answer
from scopeway.control_plane.collector.messages.request import FanoutRequest, Refused
from scopeway.control_plane.collector.messages.service_lists import list_of

Row = dict[str, Any]
Asked = list[tuple[str, str, bytes]]


@dataclass
class Glance:
    """Lists its images by name, as one cloud's service does."""

    rows: Sequence[Row]
    fails: Callable[[dict[str, str]], Answer | None] = lambda query: None
    asked: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, location: str, body: bytes) -> Answer:
        query = dict(parse_qsl(location.partition("?")[2]))
        self.asked.append(query)
        if (failure := self.fails(query)) is not None:
            return failure
        rows = sorted(self.rows, key=lambda each: (each["name"], each["id"]))
        if marker := query.get("marker"):
            rows = rows[[each["id"] for each in rows].index(marker) + 1 :]
        size = min(int(query["limit"]), 5)
        document: dict[str, Any] = {"images": rows[:size], "first": "/v2/images", "schema": "x"}
        if len(rows) > size:
            document["next"] = f"/v2/images?marker={rows[size - 1]['id']}"
        return answer(200, document)


def numbered(prefix: str, count: int) -> list[Row]:
    return [{"id": f"{prefix}{at:02}", "name": f"n{at:02}"} for at in range(count)]


def ask(
    location: str, clouds: Mapping[str, Cloud], cursors: Cursors | None = None, **fields: Any
) -> tuple[FakeWriter, Asked]:
    fields.setdefault("client", b"one")
    request = fanout("GET", location, fields.pop("members", "&".join(clouds)), **fields)
    wanted = list_of(request)
    assert wanted is not None
    out, asked = FakeWriter(), FakeFanOut(request, clouds)
    asyncio.run(sorted_page(request, asked, out, wanted, cursors or Cursors()))  # type: ignore[arg-type]
    return out, asked.asked


def walk(location: str, clouds: Mapping[str, Cloud], **fields: Any) -> list[list[Row]]:
    pages = []
    while location:
        assert len(pages) < 200
        out, _ = ask(location, clouds, **fields)
        assert out.status == 200
        pages.append(out.document["images"])
        location = out.document.get("next", "")
    return pages


BY_NAME = "/v2/images?sort=name:asc&limit=3"


def test_a_page_has_the_first_items_of_all_clouds_and_says_whose_they_are() -> None:
    out, _ = ask(BY_NAME, {"a": Glance(numbered("a", 3)), "b": Glance(numbered("b", 3))})
    assert [(each["scopeway:cloud"], each["id"]) for each in out.document["images"]] == [
        ("a", "a00"),
        ("b", "b00"),
        ("a", "a01"),
    ]
    assert list(out.document) == ["images", "next", "scopeway:report"]
    assert out.document["next"].startswith(f"/v2/images?sort=name:asc&limit=3&marker={PREFIX}")
    assert out.document["scopeway:report"] == {"asked": 2, "answered": 2, "failed": []}
    assert out.headers[b"x-scopeway-report"] == b"asked=2, answered=2, failed=0"


def test_the_next_links_lead_through_the_whole_list() -> None:
    clouds = {
        name: Glance(numbered(name, count)) for name, count in (("a", 7), ("b", 0), ("c", 11))
    }
    pages = walk(BY_NAME, clouds)
    assert [len(page) for page in pages] == [3] * 6
    rows = [(each["name"], each["id"]) for page in pages for each in page]
    assert rows == sorted(rows)
    assert len(set(rows)) == 18


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 20), unique=True, max_size=9), min_size=1, max_size=5),
    st.integers(1, 7),
)
def test_any_split_comes_back_whole(world: list[list[int]], limit: int) -> None:
    clouds = {
        f"c{at}": Glance([{"id": f"i{each}", "name": f"n{each % 3}"} for each in own])
        for at, own in enumerate(world)
    }
    pages = walk(f"/v2/images?sort_key=name&sort_key=id&sort_dir=asc&limit={limit}", clouds)
    rows = [(each["name"], each["id"]) for page in pages for each in page]
    assert rows == sorted({(f"n{each % 3}", f"i{each}") for own in world for each in own})


def test_a_replica_is_one_item_that_names_its_clouds() -> None:
    rows = numbered("x", 2)
    pages = walk(BY_NAME, {"a": Glance(rows), "b": Glance(rows[:1]), "c": Glance(rows)})
    assert [(each["scopeway:cloud"], each["id"]) for each in pages[0]] == [
        ("a,b,c", "x00"),
        ("a,c", "x01"),
    ]


def test_servers_with_equal_ids_are_no_replicas() -> None:
    def nova(*_: Any) -> Answer:
        return answer(200, {"servers": [{"id": "1", "created": "2026"}]})

    out, _ = ask("/v2.1/servers/detail?limit=5", {"a": nova, "b": nova}, service="compute")
    assert [each["scopeway:cloud"] for each in out.document["servers"]] == ["a", "b"]


def test_only_the_clouds_whose_items_are_used_up_are_asked_again() -> None:
    clouds = {f"c{at}": Glance(numbered(f"c{at}-", 5)) for at in range(10)}
    clouds["c3"] = Glance([{"id": f"z{at}", "name": "a"} for at in range(9)])
    ask("/v2/images?sort=name:asc&limit=6&visibility=public", clouds)
    query = {"sort": "name:asc", "visibility": "public"}
    assert clouds["c3"].asked == [
        {**query, "limit": "2"},
        {**query, "limit": "6", "marker": "z1"},
    ]
    assert all(
        cloud.asked == [{**query, "limit": "2"}] for name, cloud in clouds.items() if name != "c3"
    )


def unavailable(query: dict[str, str]) -> Answer:
    return answer(503, {"error": {"message": "down"}}, x_scopeway_rejected="true")


def test_a_cloud_that_fails_on_a_page_goes_on_at_its_place_on_the_next_one() -> None:
    clouds = {"a": Glance(numbered("a", 9)), "b": Glance(numbered("b", 9))}
    first, _ = ask(BY_NAME, clouds)
    clouds["b"].fails = unavailable
    second, _ = ask(first.document["next"], clouds)
    assert [each["id"] for each in second.document["images"]] == ["a02", "a03", "a04"]
    assert second.document["scopeway:report"]["failed"] == [
        {"cloud": "b", "status": 503, "cause": "unreachable", "reason": "down"}
    ]
    assert second.headers[b"x-scopeway-report"] == b"asked=2, answered=1, failed=1"
    clouds["b"].fails = lambda query: None
    third, _ = ask(second.document["next"], clouds)
    assert clouds["b"].asked[-1]["marker"] == "b00"
    assert [each["id"] for each in third.document["images"]] == ["b01", "b02", "b03"]


def test_what_a_cloud_gave_before_it_failed_stays_in_the_page() -> None:
    cloud = Glance(
        numbered("a", 9), fails=lambda query: unavailable(query) if "marker" in query else None
    )
    out, _ = ask("/v2/images?sort=name:asc&limit=9", {"a": cloud, "b": Glance(numbered("b", 2))})
    assert [each["id"] for each in out.document["images"]] == [
        *("a00", "b00", "a01", "b01", "a02", "a03", "a04"),
    ]
    assert out.document["scopeway:report"]["answered"] == 1


def test_clouds_that_fail_last_are_in_the_report_and_make_no_further_page() -> None:
    clouds = {"a": Glance(numbered("a", 2)), "b": Glance(numbered("b", 2), fails=unavailable)}
    out, _ = ask(BY_NAME, clouds)
    assert [each["id"] for each in out.document["images"]] == ["a00", "a01"]
    assert "next" not in out.document


def test_no_answer_at_all_is_an_error() -> None:
    clouds = {name: Glance([], fails=unavailable) for name in "ab"}
    out, _ = ask(BY_NAME, clouds)
    assert (out.status, out.document["scopeway:report"]["answered"]) == (502, 0)
    forbidden = {name: Glance([], fails=lambda query: answer(403, {})) for name in "ab"}
    assert ask(BY_NAME, forbidden)[0].status == 403


def test_all_that_are_left_may_fail_without_an_error_of_the_page() -> None:
    clouds = {"a": Glance(numbered("a", 3)), "b": Glance(numbered("b", 9))}
    pages = []
    location = BY_NAME
    while "b00" not in str(pages) or len(pages) < 2:
        out, _ = ask(location, clouds)
        pages.append(out.document["images"])
        location = out.document["next"]
    clouds["b"].fails = unavailable
    out, _ = ask(location, clouds)
    assert out.status == 200
    assert "next" not in out.document


def test_require_all_ends_at_the_first_failure() -> None:
    clouds = {"a": Glance(numbered("a", 3)), "b": Glance([], fails=unavailable)}
    out, _ = ask(BY_NAME, clouds, require_all=True)
    assert out.status == 502
    assert "1 of 2 clouds failed: b (503 down)" in out.document["error"]["message"]


def test_require_all_asks_nobody_where_a_cloud_cannot_be_asked() -> None:
    cloud = Glance(numbered("a", 3))
    out, asked = ask(BY_NAME, {"a": cloud}, require_all=True, missing=[("b", 404, "unknown")])
    assert (out.status, asked) == (502, [])


def test_a_missing_cloud_is_in_each_report() -> None:
    out, _ = ask(BY_NAME, {"a": Glance(numbered("a", 1))}, missing=[("b", 403, "policy")])
    report = out.document["scopeway:report"]
    assert (report["asked"], report["answered"], report["failed"][0]["cloud"]) == (2, 1, "b")


@pytest.mark.parametrize(
    "hostile",
    [
        b"<html>",
        b'{"images": {}}',
        b'{"images": [{"id": "1", "name": {}}]}',
        b'{"images": [{"name": "x"}]}',
        b'{"images": [], "next": "/v2/images?marker=x"}',
        b'{"other": []}',
        b'{"images": [{"id": "1", "name": ' + b"[" * 200_000,
    ],
    ids=["html", "no-list", "nested", "no-id", "empty-with-next", "other-key", "deep"],
)
def test_a_malformed_cloud_does_not_spoil_the_page(hostile: bytes) -> None:
    out, _ = ask(BY_NAME, {"a": Glance(numbered("a", 2)), "b": lambda *_: answer(200, hostile)})
    assert [each["id"] for each in out.document["images"]] == ["a00", "a01"]
    (failed,) = out.document["scopeway:report"]["failed"]
    assert (failed["cloud"], failed["status"], failed["cause"]) == ("b", 502, "malformed")
    assert len(failed["reason"]) <= 300


def test_a_redirect_is_no_list() -> None:
    out, _ = ask(BY_NAME, {"a": Glance(numbered("a", 1)), "b": lambda *_: answer(302)})
    assert out.document["scopeway:report"]["failed"][0]["cause"] == "malformed"


def test_an_item_cannot_claim_another_cloud() -> None:
    forged = b'{"images": [{"id": "1", "scopeway:cloud": "z", "s\\u0063opeway:cloud": "y"}]}'
    out, _ = ask(BY_NAME, {"a": lambda *_: answer(200, forged)})
    assert out.body.count(b"scopeway:cloud") == 1
    assert out.document["images"][0]["scopeway:cloud"] == "a"


# ---- markers


def test_the_extra_request_of_openstacksdk_gets_an_empty_page() -> None:
    cursors = Cursors()
    clouds = {"a": Glance(numbered("a", 2)), "b": Glance(numbered("b", 1))}
    out, _ = ask(BY_NAME, clouds, cursors)
    assert "next" not in out.document
    extra, asked = ask(f"{BY_NAME}&marker={out.document['images'][-1]['id']}", clouds, cursors)
    assert (extra.status, extra.document["images"], asked) == (200, [], [])


def test_the_id_of_the_last_item_goes_on_behind_it() -> None:
    cursors = Cursors()
    clouds = {"a": Glance(numbered("a", 9)), "b": Glance(numbered("b", 9))}
    ask(BY_NAME, clouds, cursors)
    out, _ = ask(f"{BY_NAME}&marker=a01", clouds, cursors)
    assert [each["id"] for each in out.document["images"]] == ["b01", "a02", "b02"]


@pytest.mark.parametrize("client", [b"", b"another"])
def test_an_id_that_this_client_did_not_get_is_refused(client: bytes) -> None:
    cursors = Cursors()
    clouds = {"a": Glance(numbered("a", 9))}
    ask(BY_NAME, clouds, cursors)
    with pytest.raises(Refused, match="does not know the page behind 'a02'") as refused:
        ask(f"{BY_NAME}&marker=a02", clouds, cursors, client=client)
    assert refused.value.status == 400


def test_a_marker_goes_on_where_the_clouds_of_a_label_have_changed() -> None:
    clouds = {"a": Glance(numbered("a", 9)), "b": Glance(numbered("b", 9))}
    first, _ = ask(BY_NAME, clouds, members="a&b")
    del clouds["b"]
    clouds["c"] = Glance(numbered("c", 1))
    second, _ = ask(first.document["next"], clouds, members="a&c")
    assert [each["id"] for each in second.document["images"]] == ["c00", "a02", "a03"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=x", "limit is a number of items, not 'x'"),
        ("limit=-1", "limit is a number"),
        ("limit=" + "9" * 10, "limit is a number"),
        ("limit=%D9%A3", "limit is a number"),
        ("limit=5&sort=name:up", "a sort direction is"),
        (f"limit=5&marker={PREFIX}nonsense", "the marker is not whole"),
        ("limit=5&marker=" + "x" * 5000, r"behind '(x){64}' \(any more\)"),
    ],
)
def test_a_query_that_cannot_be_used_is_refused(query: str, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as refused:
        ask(f"/v2/images?{query}", {"a": Glance([])})
    assert refused.value.status == 400


def test_more_than_2000_clouds_are_refused_before_one_is_asked() -> None:
    members = "&".join(f"c{at}" for at in range(2001))
    with pytest.raises(Refused, match="at most 2000 clouds, and this scope has 2001"):
        ask(BY_NAME, {}, members=members)


def test_a_page_is_no_longer_than_the_service_allows() -> None:
    cloud = Glance([])
    ask("/v2/images?limit=999999", {"a": cloud})
    ask("/v2/images?limit=0", {"a": cloud})
    ask("/v2/images?sort=name", {"a": cloud})
    assert [each["limit"] for each in cloud.asked] == ["1000", "1000", "1000"]


def test_the_marker_holds_clouds_that_gave_something_only() -> None:
    clouds = {f"c{at}": Glance(numbered(f"{at}-", 9)) for at in range(9)}
    out, _ = ask("/v2/images?sort=name:asc&limit=2", clouds)
    marker = dict(parse_qsl(out.document["next"].partition("?")[2]))["marker"]
    assert read_marker(marker, list(clouds)) == {"c0": "0-00", "c1": "1-00"}


# ---- the ways of other services


def nova_list(*created: str) -> Cloud:
    rows = [{"id": each, "created": each} for each in created]
    return lambda *_: answer(200, {"servers": rows})


def test_the_newest_servers_come_first_by_default() -> None:
    clouds = {"a": nova_list("2026-03", "2026-01"), "b": nova_list("2026-04", "2026-02")}
    out, _ = ask("/v2.1/servers/detail?limit=3", clouds, service="compute")
    assert [each["id"] for each in out.document["servers"]] == ["2026-04", "2026-03", "2026-02"]
    (link,) = out.document["servers_links"]
    assert link["rel"] == "next"
    assert link["href"].startswith("/v2.1/servers/detail?limit=3&marker=scopeway1.")


def swift(*names: str) -> Cloud:
    def listing(location: str, body: bytes) -> Answer:
        query = dict(parse_qsl(location.partition("?")[2]))
        down = query.get("reverse") == "true"
        left = sorted(names, reverse=down)
        if marker := query.get("marker"):
            left = [each for each in left if (each < marker if down else each > marker)]
        rows = [
            {"subdir": each} if each.endswith("/") else {"name": each, "bytes": 1}
            for each in left[: int(query["limit"])]
        ]
        return answer(200, rows)

    return listing


@pytest.mark.parametrize("reverse", [False, True])
def test_a_container_is_listed_by_name_and_its_marker_is_a_name(reverse: bool) -> None:
    clouds = {"a": swift("a", "c", "d/", "é"), "b": swift("b", "c", "e")}
    location = "/v1/AUTH_p/photos?format=json&limit=2" + ("&reverse=true" if reverse else "")
    names: list[str] = []
    marker = ""
    while True:
        out, _ = ask(location + marker, clouds, service="object-store")
        rows = json.loads(out.body)
        if not rows:
            break
        assert len(rows) <= 2
        names += [each.get("name") or each["subdir"] for each in rows]
        marker = f"&marker={names[-1]}"
    assert names == sorted(["a", "b", "c", "d/", "e", "é"], reverse=reverse)


def test_a_name_in_two_containers_is_one_entry() -> None:
    clouds = {"a": swift("x"), "b": swift("x")}
    out, _ = ask("/v1/AUTH_p/c?format=json", clouds, service="object-store")
    assert out.document == [{"scopeway:cloud": "a,b", "name": "x", "bytes": 1}]


def test_a_container_that_is_not_everywhere_is_named_in_the_header() -> None:
    clouds = {"a": swift("x"), "b": lambda *_: answer(404, b"<html><h1>Not Found</h1>")}
    out, _ = ask("/v1/AUTH_p/c?format=json", clouds, service="object-store")
    assert out.status == 200
    assert b"clouds=(b;status=404;cause=error)" in out.headers[b"x-scopeway-report"]


def test_a_container_of_thousands_of_clouds_needs_no_composite_marker() -> None:
    members = "&".join(f"c{at}" for at in range(2001))
    clouds = dict.fromkeys(members.split("&"), swift("x"))
    out, _ = ask("/v1/AUTH_p/c?limit=1", clouds, members=members, service="object-store")
    assert out.document[0]["name"] == "x"


def test_the_items_of_a_page_count_as_memory_of_the_request() -> None:
    request = fanout("GET", BY_NAME, "a&b")
    wanted = list_of(request)
    assert wanted is not None
    clouds = FakeFanOut(request, {"a": Glance(numbered("a", 3)), "b": Glance([])}, room=1000)
    with pytest.raises(Refused, match="no room"):
        asyncio.run(sorted_page(request, clouds, FakeWriter(), wanted, Cursors()))  # type: ignore[arg-type]


def test_too_many_parameters_are_refused_before_a_cloud_is_asked() -> None:
    request: FanoutRequest = fanout("GET", "/v2/images?limit=1&" + "&".join(["x=1"] * 64), "a&b")
    wanted = list_of(request)
    assert wanted is not None
    asked = FakeFanOut(request, {})
    with pytest.raises(Refused, match="64 parameters"):
        asyncio.run(sorted_page(request, asked, FakeWriter(), wanted, Cursors()))  # type: ignore[arg-type]
    assert asked.asked == []
