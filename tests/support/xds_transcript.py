"""Runs transcripts of xDS sessions: what a client says, what the session sends and tells.

A block is commands, `----`, and what comes of them. Commands:

    sotw                               the transcript is of the state of the world; first of all
    recv TYPE WORD ...                 a request; delta has [+NAME] [-NAME] [have:NAME=TEXT], the
                                       state of the world [NAME] and [version=@N], both have
                                       [node=ID] [agent=NAME] [feature=NAME] [ack] [nack=MESSAGE]
                                       [nonce=N] [skipped=N]
    connect                            a new stream, to the same source
    apply TYPE NAME=TEXT NAME=- ...    the source changes (- removes), and the session is told
    wildcard TYPE NAME ...             the wildcard means these names, and the session is told
    fail [NAME ...]                    looking up just these raises from now on; nothing is told
    outdated [NAME ...]                other servers may know more from now on, but not of these
                                       names; nothing is told
    caught_up                          that is over, and the session is told
    refuse ID                          the source does not serve this node
    limit BYTES                        of an answer; before the first request
    names NUMBER                       that a client may have; before the first request
    at SECONDS                         the clock; else each block is a second later
    interest, status                   show what the notifier and operators see; a "past nack"
                                       stands no longer

Types are short names. Versions are shown as the text of the resource that has them, those of the
state of the world as @1, @2 as they come up. The text `eds:NAME:TEXT` is a Cluster that is filled
by the ClusterLoadAssignment NAME; `TEXT[9s]` has a TTL; `late:TEXT` waits for listeners
(`Resource.after`). Of what is sent, `NAME~TEXT[9s]` is a
heartbeat of that version, and `again at` says when the session wants to be asked again.
"""

import re
import shlex
from collections.abc import Callable

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import (
    DeltaRequest,
    SotwRequest,
    decode_delta_request,
    decode_sotw_request,
    resource,
)
from scopeway.xds.errors import ProtocolError
from scopeway.xds.events import (
    Acked,
    Kept,
    LookupFailed,
    Nacked,
    NamesSkipped,
    SessionEvent,
    TypeNotServed,
)
from scopeway.xds.protocol.session import DeltaSession, Response, Session, SotwSession
from xds_model import (
    TYPES,
    Store,
    read_response,
    read_state,
    write_node,
    write_request,
    write_sotw_request,
)

SHORT = {type_url: name for name, type_url in TYPES.items()}
_TTL = re.compile(r"(.*)\[(\d+)s\]")
_TOO_LONG = b"x" * 5000


def replay(text: str) -> str:
    """Return the transcript with what its commands lead to now."""
    run = Transcript()
    blocks = []
    for block in text.strip().split("\n\n"):
        commands = block.split("\n----", 1)[0].rstrip()
        if all(line.startswith("#") or line == "sotw" for line in commands.splitlines()):
            if "sotw" in commands.splitlines():
                run.do_sotw()
            blocks.append(commands)
        else:
            blocks.append("\n".join([commands, "----", *run.step(commands)]))
    return "\n\n".join(blocks) + "\n"


class Transcript:
    """A session and the store behind it, driven by the commands."""

    def __init__(self) -> None:
        self.store = Store()
        self.sotw = False
        self.options: dict[str, int] = {}
        self.now = 0.0
        self.nonces: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.states: list[str] = []  # version_info @1, @2 …
        self.clusters: dict[str, str] = {}
        self.interest: set[tuple[str, str]] = set()
        self.output: list[str] = []
        self.do_connect()

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

    def do_sotw(self) -> None:
        self.sotw = True
        self.do_connect()

    def do_connect(self) -> None:
        self.delta_session = DeltaSession(self.store, **self.options)
        self.sotw_session = SotwSession(self.store, **self.options)
        self.session: Session[DeltaRequest] | Session[SotwRequest] = (
            self.sotw_session if self.sotw else self.delta_session
        )
        self.nonces.clear()
        self.interest.clear()

    def do_recv(self, kind: str, *words: str) -> None:
        type_url = TYPES.get(kind, kind)
        names: list[str | bytes] = []
        unsubscribe: list[str] = []
        versions: dict[str, str] = {}
        features: list[str] = []
        node = error = None
        nonce = version = agent = ""
        for word in words:
            key, _, value = word.partition("=")
            if word == "ack":
                nonce = nonce or self.nonces[kind]
            elif key == "nack":
                nonce, error = nonce or self.nonces[kind], value
            elif key == "nonce":
                nonce = value
            elif key == "node":
                node = value
            elif key == "agent":
                agent = value
            elif key == "feature":
                features.append(value)
            elif key == "version":
                version = self.states[int(value.removeprefix("@")) - 1]
            elif key == "skipped":
                names += [_TOO_LONG] * int(value)
            elif key.startswith("have:"):
                versions[key.removeprefix("have:")] = self._version(value)
            elif self.sotw:
                names.append(word)
            elif word.startswith("-"):
                unsubscribe.append(word[1:])
            else:
                assert word.startswith("+"), word
                names.append(word[1:])
        encoded = None
        if node is not None:
            encoded = write_node(node, node.partition("/")[0], features=features, agent=agent)
        if self.sotw:
            data = write_sotw_request(
                type_url, node=encoded, names=names, version=version, nonce=nonce, error=error
            )
            self.sotw_session.receive(decode_sotw_request(data), self.now)
        else:
            data = write_request(
                type_url,
                node=encoded,
                subscribe=names,
                unsubscribe=unsubscribe,
                versions=versions,
                nonce=nonce,
                error=error,
            )
            self.delta_session.receive(decode_delta_request(data), self.now)

    def do_apply(self, kind: str, *changes: str) -> None:
        type_url = TYPES[kind]
        names = []
        for change in changes:
            name, _, text = change.partition("=")
            names.append(name)
            self.store.ttls.pop((type_url, name), None)
            if text == "-":
                self.store.texts.pop((type_url, name))
            else:
                self._version(text)
                body, ttl = self._body(text)
                self.store.texts[type_url, name] = body
                if ttl is not None:
                    self.store.ttls[type_url, name] = ttl
        self.session.resources_changed(type_url, names)

    def do_wildcard(self, kind: str, *names: str) -> None:
        self.store.wildcards[TYPES[kind]] = list(names)
        self.session.wildcard_changed(TYPES[kind])

    def do_fail(self, *names: str) -> None:
        self.store.failing = set(names)

    def do_outdated(self, *current: str) -> None:
        self.store.outdated, self.store.current = True, set(current)

    def do_caught_up(self) -> None:
        self.store.outdated = False
        self.session.caught_up()

    def do_refuse(self, node: str) -> None:
        self.store.refused.add(node)

    def do_limit(self, size: str) -> None:
        self.options["response_limit"] = int(size)
        self.do_connect()

    def do_names(self, limit: str) -> None:
        self.options["names_limit"] = int(limit)
        self.do_connect()

    def do_at(self, seconds: str) -> None:
        assert float(seconds) >= self.now - 1
        self.now = float(seconds)

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
            if each.kept or each.sent_outdated:
                words.append(f"{each.kept} kept, {each.sent_outdated} sent while outdated")
            if each.in_flight_since is not None:
                words.append(f"{each.in_flight} in flight since {each.in_flight_since:g}")
            words += [
                f"{name}={self.texts.get(rejection.version, 'removal')} rejected"
                for name, rejection in each.rejected.items()
            ]
            if each.last_nack is not None:
                word = "last" if each.last_nack.is_current else "past"
                words.append(f"{word} nack at {each.last_nack.at:g}: {each.last_nack.message}")
            self.output.append(", ".join(words))

    def _send(self) -> None:
        for response in self.session.responses_to_send(self.now):
            kind = SHORT.get(response.type_url, response.type_url)
            self.nonces[kind] = response.nonce
            words = self._state(response) if self.sotw else self._changes(response)
            self.output.append(" ".join([f"send {kind} #{response.nonce}", *words]))
        self.output += [self._show(event) for event in self.session.events()]
        self._follow()
        deadline = self.session.next_deadline()
        if deadline is not None:
            self.output.append(f"again at {deadline:g}")

            assert deadline > self.now

    def _changes(self, response: Response) -> list[str]:
        received = read_response(response.data)
        resources = received.texts.keys() | received.beats.keys()

        assert (response.resources, response.removed) == (len(resources), len(received.removed))
        words = [
            f"{name}={self.clusters.get(text, text)}{_ttl(received.ttls.get(name))}"
            for name, text in received.texts.items()
        ]
        words += [f"{name}~{self.texts[version]}" for name, version in received.beats.items()]
        assert all(
            self.texts[version].endswith(_ttl(received.ttls[name]))
            for name, version in received.beats.items()
        )
        return words + [f"-{name}" for name in received.removed]

    def _state(self, response: Response) -> list[str]:
        state = read_state(response.data)
        if state.version_info not in self.states:
            self.states.append(state.version_info)

        assert (response.resources, response.removed) == (len(state.texts), 0)
        texts = [self.clusters.get(text, text) + _ttl(state.ttls.get(text)) for text in state.texts]
        return [f"@{self.states.index(state.version_info) + 1}", *sorted(texts)]

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
            case Kept():
                return f"event kept {event.count} of {kind}"
            case LookupFailed():
                return f"event lookup failed: {kind} {event.name}: {event.error!r}"

    def _body(self, text: str) -> tuple[str, float | None]:
        """Return the body that a text stands for, and its TTL."""
        limited = _TTL.fullmatch(text)
        if limited:
            return self._body(limited[1])[0], float(limited[2])
        kind, _, rest = text.partition(":")
        if kind != "eds":
            return text, None
        service = wire.field_string(2, rest.partition(":")[0])
        cluster = (
            wire.field_string(1, text) + wire.field_varint(2, 3) + wire.field_bytes(3, service)
        )
        self.clusters[cluster.decode()] = text
        return cluster.decode(), None

    def _version(self, text: str) -> str:
        body, ttl = self._body(text)
        version = resource("", "", body.encode(), ttl=ttl).version
        self.texts[version] = text
        return version


def _ttl(seconds: float | None) -> str:
    return "" if seconds is None else f"[{seconds:g}s]"
