"""A plain id as a marker works for the client that got it, in the same list and order."""

import dataclasses

from scopeway.control_plane.collector.listing.cursors import Cursors
from scopeway.control_plane.collector.messages.request import FanoutRequest

LIST = FanoutRequest(
    method="GET",
    path="/v2/images",
    query="limit=2&sort_key=name",
    service="image",
    target="image@a&b",
    operator="&",
    members=("a", "b"),
    missing=(),
    client=b"one",
    address="192.0.2.7",
)


def test_the_marker_behind_an_item_is_found_again() -> None:
    cursors = Cursors()
    cursors.remember(LIST, "item", "scopeway1.x")
    following = dataclasses.replace(LIST, query="sort_key=name&marker=item&limit=50")
    assert cursors.find(following, "item") == "scopeway1.x"
    assert cursors.find(following, "other") is None


def test_another_client_list_target_or_order_does_not_find_it() -> None:
    cursors = Cursors()
    cursors.remember(LIST, "item", "scopeway1.x")
    others = [
        {"client": b"two", "address": "192.0.2.8"},
        {"client": b"", "address": ""},
        {"target": "image@a&c"},
        {"path": "/v2/other"},
        {"query": "limit=2&sort_key=id"},
        {"query": "limit=2&sort_key=name&visibility=public"},
    ]
    for other in others:
        assert cursors.find(dataclasses.replace(LIST, **other), "item") is None


def test_the_next_command_at_the_same_address_has_another_token() -> None:
    cursors = Cursors()
    cursors.remember(LIST, "item", "scopeway1.x")
    assert cursors.find(dataclasses.replace(LIST, client=b"two"), "item") == "scopeway1.x"


def test_a_token_may_come_from_another_address() -> None:
    cursors = Cursors()
    cursors.remember(LIST, "item", "scopeway1.x")
    assert cursors.find(dataclasses.replace(LIST, address="192.0.2.8"), "item") == "scopeway1.x"


def test_the_memory_is_bounded_and_the_oldest_is_forgotten() -> None:
    cursors = Cursors(most=3000)
    for number in range(100):
        cursors.remember(LIST, str(number), "x" * 800)
    assert cursors.bytes <= 3000
    assert cursors.find(LIST, "97") is None
    assert cursors.find(LIST, "99") == "x" * 800
