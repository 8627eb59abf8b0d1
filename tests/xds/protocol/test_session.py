"""Transcripts of sessions: `tests/testdata/session/*.txt`, one for each sentence of the spec.

`xds_transcript.py` says how to read them; those of the state of the world are named `sotw_…`.
"""

from pathlib import Path

import pytest

from scopeway.xds.encoding.messages import DeltaRequest
from scopeway.xds.errors import ProtocolError
from scopeway.xds.events import LookupFailed, NamesSkipped
from scopeway.xds.protocol.backoff import INITIAL_DELAY, jitter
from scopeway.xds.protocol.session import TYPES_LIMIT, DeltaSession
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER, ROUTE
from xds_model import TYPES, Store
from xds_transcript import Transcript, replay

DIRECTORY = Path(__file__).parents[2] / "testdata" / "session"


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.txt")), ids=lambda path: path.stem)
def test_transcript(path: Path, rewrite: bool) -> None:
    expected = path.read_text()
    actual = replay(expected)
    if rewrite:
        path.write_text(actual)

    assert actual == expected or rewrite


def test_a_change_that_the_client_does_not_want_does_not_concern_its_session() -> None:
    run = Transcript()
    run.do_recv("cluster", "node=c/1", "+a")

    assert run.session.resources_changed(TYPES["cluster"], ["a", "b"])
    assert not run.session.resources_changed(TYPES["cluster"], ["b"])
    assert not run.session.resources_changed(TYPES["route"], ["a"])
    assert not run.session.wildcard_changed(TYPES["cluster"])
    assert not run.session.wildcard_changed(TYPES["route"])
    run.do_recv("cluster", "+*")
    assert run.session.wildcard_changed(TYPES["cluster"])


def test_a_failed_lookup_says_when_it_is_repeated() -> None:
    run = Transcript()
    run.do_apply("cluster", "a=1")
    run.do_fail("a")
    run.do_recv("cluster", "node=site/1", "+a")
    run.session.responses_to_send(10.0)
    (failure,) = run.session.events()

    assert isinstance(failure, LookupFailed)
    assert failure.retry_after == pytest.approx(INITIAL_DELAY * (1 + jitter("site/1")))
    assert run.session.next_deadline() == pytest.approx(10 + failure.retry_after)


def test_closing_a_session_closes_its_view() -> None:
    run = Transcript()
    run.session.close()
    run.do_recv("cluster", "node=c/1")
    run.session.close()

    assert run.session.group == "c"
    assert [view.closed for view in run.store.views] == [True]


class TestLimits:
    """The limits of what a session remembers of a client."""

    def test_a_stream_may_request_a_limited_number_of_types(self) -> None:
        session = DeltaSession(Store())
        for number in range(TYPES_LIMIT):
            node = Node(id="site/1", cluster="site")
            session.receive(DeltaRequest(type_url=f"type/{number}", node=node), 0)
        with pytest.raises(ProtocolError, match="more than 64 types") as refused:
            session.receive(DeltaRequest(type_url="type/one-more"), 0)

        assert refused.value.status == "RESOURCE_EXHAUSTED"

    def test_a_stream_may_subscribe_to_a_limited_number_of_names_of_each_type(self) -> None:
        session = DeltaSession(Store(), names_limit=2)
        for type_url in (CLUSTER, ROUTE):
            node = Node(id="site/1", cluster="site")
            for name in ("a", "b", "c"):
                session.receive(DeltaRequest(type_url=type_url, node=node, subscribe=(name,)), 0)

        assert set(session.interests()) == {(t, name) for t in (CLUSTER, ROUTE) for name in "ab"}
        assert session.events() == [NamesSkipped(CLUSTER, 1), NamesSkipped(ROUTE, 1)]

    @pytest.mark.parametrize(("held", "sent"), [(2, 0), (3, 1)])
    def test_reported_versions_are_ignored_if_there_are_more_than_the_limit_of_names(
        self, held: int, sent: int
    ) -> None:
        """Then the client is sent all resources that it wants."""
        store = Store(texts={(CLUSTER, "a"): "1"})
        session = DeltaSession(store, names_limit=2)
        found = store.attach(Node(id="", cluster="")).resource(CLUSTER, "a")
        assert found is not None
        request = DeltaRequest(
            type_url=CLUSTER,
            node=Node(id="site/1", cluster="site"),
            subscribe=("a",),
            initial_versions={"a": found.version, **{f"x{n}": "v" for n in range(held - 1)}},
            names_empty=False,
        )
        session.receive(request, 0)

        assert sum(each.resources for each in session.responses_to_send(0)) == sent
