"""Transcripts of delta sessions: `tests/testdata/session/*.txt`, one for each sentence of the spec.

A block is commands, `----`, and what the session then sends and tells. Commands:

    recv TYPE [node=ID] [+NAME] [-NAME] [have:NAME=TEXT] [ack] [nack=MESSAGE] [nonce=N] [skipped=N]
    apply TYPE NAME=TEXT NAME=- ...    the source changes (- removes), and the session is told
    wildcard TYPE NAME ...             the wildcard means these names, and the session is told
    fail NAME ...                      looking these up raises from now on; nothing is told
    refuse ID                          the source does not serve this node
    limit BYTES                        of an answer; before the first request
    names NUMBER                       that a client may have; before the first request
    interest, status                   show what the hub and an operator would see

Types are short names; versions are shown as the text of the resource that has them. The text
`eds:NAME:TEXT` is a Cluster that is filled by the ClusterLoadAssignment NAME.
"""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from xds_model import TYPES, Store, read_response

from xds import wire
from xds.codec import DeltaRequest, ErrorDetail, resource
from xds.errors import ProtocolError
from xds.events import Acked, LookupFailed, Nacked, NamesSkipped, SessionEvent, TypeNotServed
from xds.session import TYPES_LIMIT, DeltaSession
from xds.source import Node
from xds.types import CLUSTER

DIRECTORY = Path(__file__).parents[1] / "testdata" / "session"
SHORT = {type_url: name for name, type_url in TYPES.items()}


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.txt")), ids=lambda path: path.stem)
def test_transcript(path: Path, rewrite: bool) -> None:
    expected = path.read_text()
    actual = replay(expected)
    if rewrite:
        path.write_text(actual)

    assert actual == expected or rewrite


def replay(text: str) -> str:
    run = Transcript()
    blocks = []
    for block in text.strip().split("\n\n"):
        commands = block.split("\n----", 1)[0].rstrip()
        if all(line.startswith("#") for line in commands.splitlines()):
            blocks.append(commands)
        else:
            blocks.append("\n".join([commands, "----", *run.step(commands)]))
    return "\n\n".join(blocks) + "\n"


class Transcript:
    """A session and the store behind it, driven by the commands."""

    def __init__(self) -> None:
        self.store = Store()
        self.session = DeltaSession(self.store)
        self.now = 0.0
        self.nonces: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.clusters: dict[str, str] = {}
        self.interest: set[tuple[str, str]] = set()
        self.output: list[str] = []

    def step(self, commands: str) -> list[str]:
        self.output = []
        self.now += 1
        for line in commands.splitlines():
            if line.startswith("#"):
                continue
            verb, *arguments = shlex.split(line)
            command: Callable[..., None] = getattr(self, f"do_{verb}")
            try:
                command(*arguments)
            except ProtocolError as error:
                self.output.append(f"error {error.status}: {error}")
        self._send()
        return self.output or ["nothing"]

    def do_recv(self, kind: str, *words: str) -> None:
        type_url = TYPES.get(kind, kind)
        subscribe, unsubscribe, versions = [], [], {}
        nonce, error, node, skipped = "", None, None, 0
        for word in words:
            key, _, value = word.partition("=")
            if word.startswith("+"):
                subscribe.append(word[1:])
            elif word.startswith("-"):
                unsubscribe.append(word[1:])
            elif key.startswith("have:"):
                versions[key.removeprefix("have:")] = self._version(value)
            elif key == "node":
                node = Node(id=value, cluster=value.partition("/")[0])
            elif key == "skipped":
                skipped = int(value)
            elif key == "nonce":
                nonce = value
            else:
                assert key in ("ack", "nack"), word
                nonce = nonce or self.nonces[kind]
                error = ErrorDetail(code=13, message=value) if key == "nack" else None
        request = DeltaRequest(
            type_url=type_url,
            response_nonce=nonce,
            subscribe=tuple(subscribe),
            unsubscribe=tuple(unsubscribe),
            initial_versions=versions,
            error=error,
            node=node,
            names_nothing=not subscribe and not unsubscribe and not skipped,
            skipped=skipped,
        )
        self.session.receive(request, self.now)

    def do_apply(self, kind: str, *changes: str) -> None:
        type_url = TYPES[kind]
        names = []
        for change in changes:
            name, _, text = change.partition("=")
            names.append(name)
            if text == "-":
                self.store.texts.pop((type_url, name))
            else:
                self._version(text)
                self.store.texts[type_url, name] = self._body(text)
        self.session.resources_changed(type_url, names)

    def do_wildcard(self, kind: str, *names: str) -> None:
        self.store.wildcards[TYPES[kind]] = list(names)
        self.session.wildcard_changed(TYPES[kind])

    def do_fail(self, *names: str) -> None:
        self.store.failing = set(names)

    def do_refuse(self, node: str) -> None:
        self.store.refused.add(node)

    def do_limit(self, size: str) -> None:
        self.session = DeltaSession(self.store, answer_limit=int(size))

    def do_names(self, limit: str) -> None:
        self.session = DeltaSession(self.store, names_limit=int(limit))

    def do_interest(self) -> None:
        self._follow()
        by_type: dict[str, list[str]] = {}
        for type_url, name in sorted(self.interest):
            by_type.setdefault(SHORT[type_url], []).append(name)
        self.output += [f"wants {kind}: {' '.join(names)}" for kind, names in by_type.items()]

    def do_status(self) -> None:
        for each in self.session.status():
            words = [f"status {SHORT[each.type_url]}: {each.subscribed} wanted"]
            if each.wildcard:
                words.append("wildcard")
            if each.in_flight_since is not None:
                words.append(f"{each.in_flight} in flight since {each.in_flight_since:g}")
            words += [
                f"{name}={self.texts.get(rejection.version, 'removal')} rejected"
                for name, rejection in each.rejected.items()
            ]
            if each.last_nack is not None:
                words.append(f"last nack at {each.last_nack.at:g}: {each.last_nack.message}")
            self.output.append(", ".join(words))

    def _send(self) -> None:
        for response in self.session.responses_to_send(self.now):
            received = read_response(response.data)
            kind = SHORT.get(received.type_url, received.type_url)
            self.nonces[kind] = received.nonce
            words = [
                f"{name}={self.clusters.get(text, text)}" for name, text in received.texts.items()
            ]
            words += [f"-{name}" for name in received.removed]
            self.output.append(" ".join([f"send {kind} #{received.nonce}", *words]))

            assert (response.resources, response.removed) == (
                len(received.texts),
                len(received.removed),
            )
        self.output += [self._show(event) for event in self.session.events()]
        self._follow()

    def _follow(self) -> None:
        for type_url, name, wanted in self.session.interest_changes():
            (self.interest.add if wanted else self.interest.discard)((type_url, name))

        assert self.interest == set(self.session.interests())

    def _show(self, event: SessionEvent) -> str:
        kind = SHORT.get(event.type_url, event.type_url)
        match event:
            case Acked():
                return f"event acked {kind}"
            case Nacked():
                return (
                    f"event nacked {kind} {' '.join(event.names) or '(nothing)'}: {event.message}"
                )
            case NamesSkipped():
                return f"event skipped {event.count} names of {kind}"
            case TypeNotServed():
                return f"event type not served: {kind}"
            case LookupFailed():
                return f"event lookup failed: {kind} {event.name}: {event.error!r}"

    def _body(self, text: str) -> str:
        kind, _, rest = text.partition(":")
        if kind != "eds":
            return text
        service = wire.field_string(2, rest.partition(":")[0])
        cluster = (
            wire.field_string(1, text) + wire.field_varint(2, 3) + wire.field_bytes(3, service)
        )
        self.clusters[cluster.decode()] = text
        return cluster.decode()

    def _version(self, text: str) -> str:
        version = resource("", "", self._body(text).encode()).version
        self.texts[version] = text
        return version


def test_changes_that_no_client_wants_concern_nobody() -> None:
    run = Transcript()
    run.do_recv("cluster", "node=c/1", "+a")

    assert run.session.resources_changed(TYPES["cluster"], ["a", "b"])
    assert not run.session.resources_changed(TYPES["cluster"], ["b"])
    assert not run.session.resources_changed(TYPES["route"], ["a"])
    assert not run.session.wildcard_changed(TYPES["cluster"])
    assert not run.session.wildcard_changed(TYPES["route"])
    run.do_recv("cluster", "+*")
    assert run.session.wildcard_changed(TYPES["cluster"])


def test_closing_gives_the_view_back() -> None:
    run = Transcript()
    run.session.close()
    run.do_recv("cluster", "node=c/1")
    run.session.close()

    assert run.session.group == "c"
    assert [view.closed for view in run.store.views] == [True]


class TestLimits:
    """What a client may make a session remember."""

    def test_types_are_bounded(self) -> None:
        session = DeltaSession(Store())
        for number in range(TYPES_LIMIT):
            node = Node(id="site/1", cluster="site")
            session.receive(DeltaRequest(type_url=f"type/{number}", node=node), 0)
        with pytest.raises(ProtocolError, match="more than 64 types") as refused:
            session.receive(DeltaRequest(type_url="type/one-more"), 0)

        assert refused.value.status == "RESOURCE_EXHAUSTED"

    @pytest.mark.parametrize(("held", "sent"), [(2, 0), (3, 1)])
    def test_versions_are_believed_only_of_as_many_names_as_a_client_may_have(
        self, held: int, sent: int
    ) -> None:
        """Too many of them are as none: it is sent what it wants."""
        store = Store(texts={(CLUSTER, "a"): "1"})
        session = DeltaSession(store, names_limit=2)
        found = store.attach(Node(id="", cluster="")).resource(CLUSTER, "a")
        assert found is not None
        request = DeltaRequest(
            type_url=CLUSTER,
            node=Node(id="site/1", cluster="site"),
            subscribe=("a",),
            initial_versions={"a": found.version, **{f"x{n}": "v" for n in range(held - 1)}},
            names_nothing=False,
        )
        session.receive(request, 0)

        assert sum(each.resources for each in session.responses_to_send(0)) == sent
