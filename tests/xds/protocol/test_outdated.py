"""An outdated source: what the transcripts `outdated…` cannot show."""

import logging
from collections.abc import Collection

import pytest

from scopeway.xds.encoding.messages import DeltaRequest, resource
from scopeway.xds.events import Kept
from scopeway.xds.grpc_server.logging import StreamLog
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.protocol.session import DeltaSession
from scopeway.xds.protocol.status import Status
from scopeway.xds.resource import Resource
from scopeway.xds.source import Node
from scopeway.xds.steps import finish
from scopeway.xds.type_urls import CLUSTER, LISTENER, ROUTE
from xds_model import Store, View

NODE = Node(id="site/1", cluster="site")


def come(session: DeltaSession, *names: str, type_url: str = CLUSTER) -> None:
    """Let a client connect with unknown versions of these names."""
    session.receive(
        DeltaRequest(
            type_url=type_url,
            node=NODE,
            subscribe=names,
            names_empty=False,
            initial_versions=dict.fromkeys(names, "newer"),
        ),
        0.0,
    )


def store(*names: str) -> Store:
    return Store(texts={(CLUSTER, name): "1" for name in names}, outdated=True)


def test_caught_up_notifies_all_streams_in_steps_and_triggers_those_that_kept_resources() -> None:
    source, notifier = store("a"), ChangeNotifier()
    woken: list[int] = []
    sessions = [DeltaSession(source) for _ in range(3)]
    for number, session in enumerate(sessions):
        come(session, *["a"] * (number < 2))
        session.responses_to_send(0.0)
        notifier.join(session, f"group {number % 2}", lambda number=number: woken.append(number))
    source.outdated = False

    assert len(list(notifier.caught_up())) == 3
    assert sorted(woken) == [0, 1]
    assert [each.resources for each in sessions[0].responses_to_send(0.0)] == [1]
    assert sessions[2].responses_to_send(0.0) == []


def test_caught_up_skips_a_stream_that_leaves_meanwhile() -> None:
    source, notifier = store("a"), ChangeNotifier()
    members = []
    for number in range(3):
        session = DeltaSession(source)
        come(session, "a")
        members.append(notifier.join(session, str(number), lambda: None))
    steps = notifier.caught_up()
    next(steps)
    for member in members:
        notifier.leave(member)

    finish(steps)


def test_the_view_without_ttls_is_outdated_like_its_source() -> None:
    session = DeltaSession(store("a"))
    come(session, "a")

    assert session.node is not None
    assert session.node.user_agent == "", "its TTLs are hidden from it"
    assert session.responses_to_send(0.0) == []
    assert session.kept == 1


class Plain(View):
    """A view without `is_outdated`, like most."""

    is_outdated = None  # type: ignore[assignment]


class PlainStore(Store):
    def attach(self, node: Node) -> View:
        return Plain(self, node)


def test_a_source_without_the_outdated_option_is_never_outdated() -> None:
    session = DeltaSession(PlainStore(texts={(CLUSTER, "a"): "1"}))
    come(session, "a")

    assert [each.resources for each in session.responses_to_send(0.0)] == [1]
    assert (session.kept, session.sent_outdated) == (0, 0)


class Counting(View):
    """Records which resources are made, and knows versions."""

    def __init__(self, store: Store, node: Node) -> None:
        super().__init__(store, node)
        self.made: list[str] = []

    def resource(self, type_url: str, name: str) -> Resource | None:
        self.made.append(name)
        return super().resource(type_url, name)

    def is_current(self, type_url: str, name: str, version: str) -> bool:
        return version == resource(type_url, name, b"1").version


class CountingStore(Store):
    def attach(self, node: Node) -> View:
        self.views.append(Counting(self, node))
        return self.views[-1]


def test_a_kept_resource_is_made_once_and_a_current_one_never() -> None:
    source = CountingStore(
        texts={(CLUSTER, name): "1" for name in ("same", "changed")}, outdated=True
    )
    session = DeltaSession(source)
    versions = {"same": resource(CLUSTER, "same", b"1").version, "changed": "newer"}
    request = DeltaRequest(
        type_url=CLUSTER, node=NODE, subscribe=tuple(versions), initial_versions=versions
    )
    session.receive(request, 0.0)
    (view,) = source.views

    for _ in range(3):
        assert session.responses_to_send(0.0) == []
    assert isinstance(view, Counting)
    assert view.made == ["changed"]
    assert session.kept == 1


def told(session: DeltaSession) -> Collection[Kept]:
    session.responses_to_send(0.0)
    return [each for each in session.events() if isinstance(each, Kept)]


def test_kept_resources_are_one_event_for_each_type_and_one_log_line_for_a_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = DeltaSession(store("a", "b", "l"))
    come(session, "a", "b")
    events = [*told(session), *told(session)]
    come(session, "l", type_url=LISTENER)
    events += told(session)
    log = StreamLog()
    with caplog.at_level(logging.INFO, "scopeway.xds"):
        for event in events:
            log.log("site/1", event)

    session.caught_up()
    come(session, "x", type_url=ROUTE)

    assert events == [Kept(CLUSTER, 2, first=True), Kept(LISTENER, 1, first=False)]
    assert told(session) == [Kept(ROUTE, 1, first=True)], "of another time"
    (record,) = caplog.records
    assert record.getMessage().startswith("client keeps the resources that it reported")
    assert vars(record)["count"] == 2


def test_kept_resources_are_limited_by_the_names_of_a_stream() -> None:
    names = [f"c{number}" for number in range(9)]
    source = store(*names)
    session = DeltaSession(source, names_limit=8)
    come(session, *names)
    session.responses_to_send(0.0)
    less = DeltaSession(source, names_limit=9)
    come(less, *names)
    less.responses_to_send(0.0)

    assert (session.kept, less.kept) == (0, 9)


def test_kept_resources_have_the_status_not_sent() -> None:
    session = DeltaSession(store("here"))
    come(session, "here", "not-here")
    session.responses_to_send(0.0)

    assert [(each.name, each.status) for each in session.resource_states()] == [
        ("here", Status.NOT_SENT),
        ("not-here", Status.NOT_SENT),
    ]


def test_no_resource_is_sent_before_a_kept_one_of_an_earlier_type() -> None:
    """The source catches up while routes are made: clusters and listeners are sent first."""
    source = store("c")
    source.texts |= {(ROUTE, name): "1" for name in ("r1", "r2", "r3")}
    session = DeltaSession(source)
    come(session, "c")
    session.responses_to_send(0.0)
    names = ("r1", "r2", "r3")
    session.receive(DeltaRequest(type_url=ROUTE, subscribe=names), 0.0)
    steps = session.response_steps(0.0)
    for _ in range(2):
        next(steps)
    source.outdated = False
    session.caught_up()
    sent = finish(steps)
    sent += session.responses_to_send(0.0)

    assert [(each.type_url, each.resources) for each in sent] == [(ROUTE, 2), (CLUSTER, 1)]
