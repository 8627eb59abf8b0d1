"""State of the world: the rules of one stream, each with its sentence of the specification."""

import pytest
from xds_model import TYPES, Store

from xds import wire
from xds.codec import SotwRequest, decode_sotw_request
from xds.events import Acked, Nacked
from xds.session import SotwSession
from xds.source import Node
from xds.types import CLUSTER, ENDPOINT, ROUTE


class World:
    """A session, the store behind it, and a client that remembers what it was sent last."""

    def __init__(self, **texts: str) -> None:
        self.store = Store()
        self.nonces: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        for name, text in texts.items():
            self.store.texts[CLUSTER, name] = text
        self.connect()

    def connect(self) -> None:
        self.session = SotwSession(self.store)
        self.nonces.clear()
        self.first = True

    def ask(
        self, type_url: str, *names: str, error: str | None = None, nonce: str | None = None
    ) -> list[list[str]]:
        """Send a request that pairs with the last response, and read what comes back."""
        parts = [wire.field_string(1, self.versions.get(type_url, ""))]
        if self.first:
            node = wire.field_string(1, "site/1") + wire.field_string(2, "site")
            parts.append(wire.field_bytes(2, node))
        parts += [wire.field_string(3, name) for name in names]
        nonce = self.nonces.get(type_url, "") if nonce is None else nonce
        parts += [wire.field_string(4, type_url), wire.field_string(5, nonce)]
        if error is not None:
            status = wire.field_varint(1, 13) + wire.field_string(2, error)
            parts.append(wire.field_bytes(6, status))
        request = decode_sotw_request(b"".join(parts), with_node=self.first)
        self.first = False
        self.session.receive(request, 0.0)
        return self.sent()

    def change(self, type_url: str, **texts: str | None) -> list[list[str]]:
        for name, text in texts.items():
            if text is None:
                del self.store.texts[type_url, name]
            else:
                self.store.texts[type_url, name] = text
        self.session.resources_changed(type_url, list(texts))
        return self.sent()

    def wildcard(self, type_url: str, *names: str) -> list[list[str]]:
        self.store.wildcards[type_url] = list(names)
        self.session.wildcard_changed(type_url)
        return self.sent()

    def sent(self) -> list[list[str]]:
        return [self.read(each.data) for each in self.session.responses_to_send(0.0)]

    def read(self, data: bytes) -> list[str]:
        """Return the texts of the resources of a DiscoveryResponse, sorted."""
        found: dict[int, list[bytes]] = {}
        for number, start, end in wire.fields(data):
            found.setdefault(number, []).append(data[start:end])
        type_url = found[4][0].decode()
        self.nonces[type_url] = found[5][0].decode()
        self.versions[type_url] = found[1][0].decode()
        texts = []
        for each in found.get(2, []):
            parts = {number: each[start:end] for number, start, end in wire.fields(each)}
            assert parts[1].decode() == type_url
            texts.append(parts[2].decode())
        return sorted(texts)


def test_clusters_are_always_the_complete_state() -> None:
    world = World(a="a1", b="b1")
    world.store.wildcards[CLUSTER] = ["a", "b"]

    assert world.ask(CLUSTER) == [["a1", "b1"]]
    assert world.ask(CLUSTER) == []
    assert world.change(CLUSTER, b="b2") == [["a1", "b2"]]
    world.ask(CLUSTER)
    assert world.wildcard(CLUSTER, "b") == [["b2"]]


def test_endpoints_and_routes_hold_only_what_was_named_and_is_news() -> None:
    world = World()
    for type_url in (ENDPOINT, ROUTE):
        for name in ("a", "b", "c"):
            world.store.texts[type_url, name] = f"{name}1"

        assert world.ask(type_url, "a", "b") == [["a1", "b1"]]
        world.ask(type_url, "a", "b")
        assert world.change(type_url, b="b2") == [["b2"]]
        world.ask(type_url, "a", "b")
        assert world.change(type_url, c="c2") == []


def test_stale_nonces_are_ignored() -> None:
    world = World(a="a1", b="b1")
    world.ask(CLUSTER, "a")
    old = world.nonces[CLUSTER]
    world.ask(CLUSTER, "a")
    world.change(CLUSTER, a="a2")

    assert world.ask(CLUSTER, "b", nonce=old) == []
    assert world.ask(CLUSTER, "a", "b") == [["a2", "b1"]]


def test_an_ack_with_changed_names_is_a_new_subscription() -> None:
    world = World(a="a1", b="b1")
    world.ask(CLUSTER, "a")

    assert world.ask(CLUSTER, "a", "b") == [["a1", "b1"]]
    assert world.ask(CLUSTER, "b") == []
    assert set(world.session.interests()) == {(CLUSTER, "b")}
    assert world.change(CLUSTER, a="a2") == []


def test_only_a_first_empty_list_is_the_wildcard() -> None:
    world = World(a="a1", b="b1")
    world.store.wildcards[CLUSTER] = ["b"]
    world.ask(CLUSTER, "a")
    world.ask(CLUSTER, "a")

    assert world.ask(CLUSTER) == []
    assert list(world.session.interests()) == []


def test_the_explicit_wildcard_goes_with_names() -> None:
    world = World(a="a1", b="b1")
    world.store.wildcards[CLUSTER] = ["b"]

    assert world.ask(CLUSTER, "*", "a") == [["a1", "b1"]]
    assert world.ask(CLUSTER, "a") == []
    assert list(world.session.interests()) == [(CLUSTER, "a")]


def test_the_version_moves_only_when_something_that_is_seen_changes() -> None:
    world = World(a="a1", b="b1")
    world.ask(CLUSTER, "a")
    before = world.versions[CLUSTER]
    world.ask(CLUSTER, "a")
    assert world.change(CLUSTER, b="b2") == []
    world.change(CLUSTER, a="a2")
    between = world.versions[CLUSTER]
    world.ask(CLUSTER, "a")
    world.change(CLUSTER, a="a1")

    assert between != before == world.versions[CLUSTER]


def test_a_returning_client_with_the_complete_state_is_sent_nothing() -> None:
    world = World(a="a1", b="b1")
    world.store.wildcards[CLUSTER] = ["a", "b"]
    world.ask(CLUSTER)
    world.connect()

    assert world.ask(CLUSTER) == []
    assert world.change(CLUSTER, a="a2") == [["a2", "b1"]]
    world.connect()
    world.store.texts[CLUSTER, "a"] = "a3"
    assert world.ask(CLUSTER) == [["a3", "b1"]]


def test_a_rejected_state_is_not_sent_again_until_it_changes() -> None:
    world = World(a="bad")
    world.ask(CLUSTER, "a")

    assert world.ask(CLUSTER, "a", error="a is bad") == []
    world.session.resources_changed(CLUSTER, ["a"])
    assert world.sent() == []
    (nacked,) = world.session.events()
    assert nacked == Nacked(CLUSTER, ("a",), 13, "a is bad")
    assert world.change(CLUSTER, a="a2") == [["a2"]]
    world.ask(CLUSTER, "a")
    assert [type(each) for each in world.session.events()] == [Acked]
    assert world.session.status()[0].rejected == {}


def test_a_good_one_among_the_rejected_comes_though_it_was_told_as_changed_meanwhile() -> None:
    world = World()
    for name, text in (("a", "bad"), ("b", "b1")):
        world.store.texts[ENDPOINT, name] = text
    found = world.ask(ENDPOINT, "a", "b")
    world.session.resources_changed(ENDPOINT, ["b"])  # a change that changes nothing
    held: set[str] = set()
    for _ in range(4):
        bad = any("bad" in texts for texts in found)
        held |= set() if bad else {text for texts in found for text in texts}
        found = world.ask(ENDPOINT, "a", "b", error="a is bad" if bad else None)

    assert held == {"b1"}


def test_a_bad_endpoint_is_found_among_the_others() -> None:
    world = World()
    for name, text in (("a", "a1"), ("b", "bad"), ("c", "c1")):
        world.store.texts[ENDPOINT, name] = text
    names = ("a", "b", "c")
    found = world.ask(ENDPOINT, *names)
    sent = []
    while found:
        sent += found
        error = "bad" if "bad" in found[0] else None
        found = world.ask(ENDPOINT, *names, error=error)

    assert sent == [["a1", "bad", "c1"], ["a1"], ["bad"], ["c1"]]
    (status,) = world.session.status()
    assert list(status.rejected) == ["b"]
    assert world.change(ENDPOINT, a="a2") == [["a2"]]


def test_never_two_in_flight() -> None:
    world = World(a="a1")
    world.ask(CLUSTER, "a")

    assert world.change(CLUSTER, a="a2") == []
    assert world.change(CLUSTER, a="a3") == []
    assert world.ask(CLUSTER, "a") == [["a3"]]


def test_big_answers_are_split_where_they_are_no_complete_state() -> None:
    world = World()
    world.session = SotwSession(world.store, answer_limit=100)
    names = ("a", "b", "c")
    for type_url in (CLUSTER, ENDPOINT):
        world.store.texts.update({(type_url, name): name for name in names})

    assert world.ask(CLUSTER, *names) == [["a", "b", "c"]]
    assert world.ask(ENDPOINT, *names) == [["a", "b"]]
    assert world.ask(ENDPOINT, *names) == [["c"]]
    assert world.ask(ENDPOINT, *names) == []


def test_a_state_that_is_not_known_removes_nothing() -> None:
    world = World(a="a1", b="b1")
    world.ask(CLUSTER, "a", "b")
    world.ask(CLUSTER, "a", "b")
    world.store.failing.add("a")

    assert world.change(CLUSTER, b="b2") == []
    world.store.failing.clear()
    assert world.change(CLUSTER, b="b2") == [["a1", "b2"]]


def test_too_many_names_are_skipped() -> None:
    session = SotwSession(Store(), names_limit=2)
    node = Node(id="n", cluster="c")
    request = SotwRequest(
        type_url=TYPES["cluster"], node=node, names=("a", "b", "c"), names_nothing=False
    )
    session.receive(request, 0.0)

    assert sorted(session.interests()) == [(CLUSTER, "a"), (CLUSTER, "b")]
    (event,) = session.events()
    assert event.count == 1  # type: ignore[union-attr]


def eds_cluster(timeout: int, service: str = "") -> str:
    inner = wire.field_string(2, service) if service else b""
    parts = wire.field_string(1, "a") + wire.field_varint(2, 3) + wire.field_bytes(3, inner)
    return (parts + wire.field_bytes(4, wire.field_varint(1, timeout))).decode()


@pytest.mark.parametrize(("service", "name"), [("", "a"), ("s", "s")])
def test_a_changed_eds_cluster_waits_for_fresh_endpoints(service: str, name: str) -> None:
    world = World(a=eds_cluster(1, service))
    world.store.texts[ENDPOINT, name] = "e1"
    world.ask(CLUSTER, "a")
    world.ask(ENDPOINT, name)
    world.ask(CLUSTER, "a")
    world.ask(ENDPOINT, name)

    changed = eds_cluster(2, service)
    assert world.change(CLUSTER, a=changed) == [[changed], ["e1"]]
    world.ask(CLUSTER, "a")
    world.ask(ENDPOINT, name)
    assert world.change(CLUSTER, a="\x12\xff") == [["\x12\xff"]]
