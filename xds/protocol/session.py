"""One stream, delta or state of the world, without I/O: requests in, responses out.

Owns the node of the stream, the pairing of responses with ACKs and NACKs, and the order among
types. The rules for each type are in `xds.protocol.delta` (delta) and `xds.protocol.sotw`; what
differs between the two is a `xds.protocol.variants.Dialect`. Knows no clock, no gRPC and no other
streams; time is an argument: `now` is in seconds on any clock that never goes back, always the same
one.

A caller's loop, after `receive`, at `next_deadline`, or whenever `resources_changed` or
`wildcard_changed` returned True: send what `responses_to_send` returns, in that order; then collect
`events` and `interest_changes`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Generic

from scopeway.xds import type_urls as types
from scopeway.xds.encoding.messages import DeltaRequest, Encoded, SotwRequest, endpoints_name
from scopeway.xds.errors import MissingNodeError, ProtocolError
from scopeway.xds.events import Acked, Kept, Nacked, NamesSkipped, SessionEvent, TypeNotServed
from scopeway.xds.protocol.backoff import spread
from scopeway.xds.protocol.status import Nack, ResourceState, TypeStatus
from scopeway.xds.protocol.subscription_state import Answer, Ledger
from scopeway.xds.protocol.ttl import WithoutTtls, supports_ttl
from scopeway.xds.protocol.variants import DELTA, SOTW, Dialect, Request, TypeRules
from scopeway.xds.source import AttachesInSteps, MayBeOutdated, Node, NodeView, Source
from scopeway.xds.steps import STRIDE, Steps, finish

ANSWER_LIMIT = 2 << 20
"""A response ends with the resource that takes it to so many bytes."""
TYPES_LIMIT = 64
"""A client may ask for so many types on a stream; Envoy has some fifteen."""
NAMES_LIMIT = 20_000
"""A client may be subscribed to so many names of one type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An encoded DeltaDiscoveryResponse or DiscoveryResponse, and what it holds."""

    type_url: str
    nonce: str
    resources: int
    removed: int
    parts: Sequence[Encoded]
    """What it is to be joined of: as long as it waits to be sent, no resource is copied."""

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(map(len, self.parts))

    @property
    def data(self) -> bytes:
        """The bytes: a copy."""
        return b"".join(self.parts)


@dataclass(slots=True)
class _Flight:
    nonce: str
    since: float


class Session(Generic[Request]):
    """The server's side of one stream.

    Args:
        dialect: DELTA or SOTW.
        source: Where the resources come from.
        answer_limit: A response ends with the resource that takes it to so many bytes.
        names_limit: A client may be subscribed to so many names of one type; further ones are
            skipped, since an error would end its streams for ever: it repeats them all.
        identities: What the channel has proven of the client (`Node.identities`).
    """

    def __init__(
        self,
        dialect: Dialect[Request],
        source: Source,
        *,
        answer_limit: int = ANSWER_LIMIT,
        names_limit: int = NAMES_LIMIT,
        identities: tuple[str, ...] | None = None,
    ) -> None:
        self.node: Node | None = None
        """Who is at the other end; None until the first request."""
        self._dialect: Dialect[Request] = dialect
        self._source = source
        self._answer_limit = answer_limit
        self._names_limit = names_limit
        self._identities = identities
        self._view: NodeView | None = None
        self._freshness: MayBeOutdated | None = None
        self._subscriptions: dict[str, TypeRules[Request]] = {}  # in the order of sending
        self._opened: set[str] = set()
        self._client_runs = False  # it came with something, while the source is outdated
        self._unserved: set[str] = set()
        self._unserved_answers: list[tuple[str, Answer]] = []  # until the next `respond`
        self._taking: Ledger | None = None  # what the answer in the making is of
        self._flights: dict[str, _Flight] = {}
        self._last_nacks: dict[str, Nack] = {}
        self._events: list[SessionEvent] = []
        self._nonces = 0
        self._keeps = False  # what it keeps was told before

    @property
    def kept(self) -> int:
        """The number of resources that the client keeps; see `xds.source.MayBeOutdated`."""
        return sum(each.kept for each in tuple(self._subscriptions.values()))

    @property
    def sent_outdated(self) -> int:
        """The number of resources that the client was sent since the source is outdated."""
        return sum(each.ledger.sent_outdated for each in tuple(self._subscriptions.values()))

    @property
    def group(self) -> str:
        """The group of the stream's node; only after the first request."""
        assert self._view is not None
        return self._view.group

    def receive(self, request: Request, now: float) -> None:
        """Take in a request.

        Afterwards the caller sends what `responses_to_send` returns. The node counts on the first
        request only.

        Raises:
            ProtocolError: the stream must end with its status. The session is of no further use,
                but must be closed.
        """
        finish(self.take_in(request, now))

    def take_in(self, request: Request, now: float) -> Steps[None]:
        """Do what `receive` does, in steps; changes may be noted between them, no more.

        The node is attached (`is_attached`) before names are taken in.
        """
        if self._view is None:
            if request.node is None:
                raise MissingNodeError("the first request of the stream names no node")
            self.node = replace(request.node, identities=self._identities)
            if isinstance(self._source, AttachesInSteps):
                yield from self._source.prepare(self.node)
            self._view = self._source.attach(self.node)
            if isinstance(self._view, MayBeOutdated):
                self._freshness = self._view
            if not supports_ttl(self.node, wrapped=self._dialect.ttls_wrapped):
                self._view = WithoutTtls(self._view)
            yield
        skipped = request.skipped
        if request.type_url in self._source.type_urls():
            subscription = self._subscriptions.get(request.type_url) or self._open(request.type_url)
            subscription.ledger.interrupted = False
            stale = yield from self._pair(subscription, request, now)
            skipped += yield from subscription.receive(request, stale)
            self._client_runs = self._client_runs or bool(subscription.ledger.foreign)
        else:
            self._pass_over(request, now)
        if skipped:
            self._events.append(NamesSkipped(request.type_url, skipped))

    @property
    def is_attached(self) -> bool:
        """Whether the node is known, and served."""
        return self._view is not None

    def resources_changed(self, type_url: str, names: Iterable[str]) -> bool:
        """Note that resources came, changed or went; return whether the client wants any of them.

        Costs O(names).
        """
        subscription = self._subscriptions.get(type_url)
        if subscription is None or not subscription.ledger.changed(names):
            return False
        self._interrupt(type_url)
        return True

    def wildcard_changed(self, type_url: str) -> bool:
        """Note that the wildcard means other names now; return whether the client has one.

        Tells which names are meant, not what they hold: `resources_changed` does that.
        """
        subscription = self._subscriptions.get(type_url)
        if subscription is None or not subscription.ledger.wildcard_changed():
            return False
        self._interrupt(type_url)
        return True

    def caught_up(self) -> bool:
        """Note that the source is outdated no longer; return whether the client has kept anything.

        See `xds.source.MayBeOutdated`. Costs O(what it has kept).
        """
        self._keeps = self._client_runs = False
        any_kept = False
        for type_url, subscription in self._subscriptions.items():
            if subscription.caught_up():
                self._interrupt(type_url)
                any_kept = True
        return any_kept

    def responses_to_send(self, now: float) -> list[Response]:
        """Return the responses that are due, which count as sent from then on.

        At most one of a type is in flight; an empty list says nothing can be sent before the next
        request or change, or `next_deadline`.
        """
        return finish(self.respond(now))

    def respond(self, now: float) -> Steps[list[Response]]:
        """Do what `responses_to_send` does, in steps; changes may be noted between them, no more.

        After each step the caller collects `interest_changes`. Where something changes meanwhile
        that goes before what is being answered, the answer ends with what it has.
        """
        responses: list[Response] = []
        try:
            yield from self._send_in_order(responses, now)
        finally:
            self._taking = None
        for type_url, answer in self._unserved_answers:
            responses.append((yield from self._encode(type_url, answer)))
        self._unserved_answers = []
        for ledger in self._ledgers():
            if ledger.failures:
                assert self.node is not None
                self._events += ledger.put_off(now, spread(self.node.id))
            if ledger.newly_kept:
                self._events.append(Kept(ledger.type_url, ledger.newly_kept, not self._keeps))
                ledger.newly_kept, self._keeps = 0, True
        return responses

    def next_deadline(self) -> float | None:
        """Return when `responses_to_send` is to be called again if nothing else happens; or None.

        In the terms of `now`; never before the `now` of its last call. Costs O(types).
        """
        deadlines: list[float] = []
        for ledger in self._ledgers():
            if ledger.due_at is not None:
                deadlines.append(ledger.due_at)
            if ledger.has_news:  # the types behind wait for an ACK
                break
        return min(deadlines, default=None)

    def events(self) -> list[SessionEvent]:
        """Return what happened since the last call."""
        events, self._events = self._events, []
        return events

    def interest_changes(self) -> list[tuple[str, str, bool]]:
        """Return the names that the client began (True) or ceased to want since the last call.

        As tuples of type URL, name and whether it is wanted now; the same may be told twice.
        """
        changes: list[tuple[str, str, bool]] = []
        for ledger in self._ledgers():
            if ledger.interest:
                interest = ledger.interest.items()
                changes += [(ledger.type_url, name, wanted) for name, wanted in interest]
                ledger.interest.clear()
        return changes

    def interests(self) -> Iterator[tuple[str, str]]:
        """Yield type URL and name of everything that the client wants."""
        for ledger in self._ledgers():
            for name in ledger.wanted():
                yield ledger.type_url, name

    def status(self) -> tuple[TypeStatus, ...]:
        """Return how far each type has come; costs O(names)."""
        return tuple(self._type_status(each) for each in self._subscriptions.values())

    def states(self) -> Iterator[ResourceState]:
        """Yield how far each resource has come; costs O(names) lookups in the source."""
        for ledger in self._ledgers():
            yield from ledger.states()

    def close(self) -> None:
        """End the session: the view of the node is given back."""
        if self._view is not None:
            self._view.close()

    def _ledgers(self) -> list[Ledger]:
        return [subscription.ledger for subscription in self._subscriptions.values()]

    def _open(self, type_url: str) -> TypeRules[Request]:
        self._check_types()
        assert self._view is not None
        self._subscriptions[type_url] = self._dialect.open(
            type_url, self._view, self._answer_limit, self._names_limit
        )
        self._subscriptions = {
            key: self._subscriptions[key]
            for key in sorted(self._subscriptions, key=types.send_rank)
        }
        self._opened.add(type_url)
        ledger = self._subscriptions[type_url].ledger
        ledger.opened, ledger.freshness = self._opened, self._freshness
        ledger.client_runs = self._client_runs
        for ledger in self._ledgers():
            ledger.resume()
        return self._subscriptions[type_url]

    def _check_types(self) -> None:
        if len(self._subscriptions) + len(self._unserved) >= TYPES_LIMIT:
            raise ProtocolError(
                f"the stream asks for more than {TYPES_LIMIT} types", status="RESOURCE_EXHAUSTED"
            )

    def _pass_over(self, request: Request, now: float) -> None:
        """Answer a request for a type that isn't served, and keep nothing of it but the type."""
        type_url = request.type_url
        first = type_url not in self._unserved
        if first:
            self._check_types()
            self._unserved.add(type_url)
            self._events.append(TypeNotServed(type_url))
        if request.error is not None:
            self._events.append(Nacked(type_url, (), request.error.code, request.error.message))
        answer = self._dialect.unserved(request, first)
        if answer is not None:
            self._unserved_answers.append((type_url, answer))

    def _interrupt(self, type_url: str) -> None:
        taking = self._taking
        if taking is not None and types.send_rank(type_url) < types.send_rank(taking.type_url):
            taking.interrupted = True

    def _pair(self, subscription: TypeRules[Request], request: Request, now: float) -> Steps[bool]:
        """Pair an ACK or NACK with its response; return whether it is of an earlier one."""
        type_url, error = request.type_url, request.error
        flight = self._flights.get(type_url)
        paired = flight is not None and flight.nonce == request.response_nonce
        if paired:
            del self._flights[type_url]
            self._flights = self._flights or {}  # an emptied one keeps its room
        if error is not None:
            names = (yield from subscription.reject(error)) if paired else ()
            nack = Nack(names=names, code=error.code, message=error.message, at=now)
            self._last_nacks[type_url] = nack
            self._events.append(Nacked(type_url, names, error.code, error.message))
        elif flight is not None and paired:
            yield from subscription.acknowledge(now)
            last = self._last_nacks.get(type_url)
            if last is not None and last.stands:
                self._last_nacks[type_url] = replace(last, stands=False)
            self._events.append(Acked(type_url, now - flight.since))
        return flight is not None and not paired and request.response_nonce != ""

    def _send_in_order(self, responses: list[Response], now: float) -> Steps[None]:
        """Make what can be sent, so that nothing overtakes what it may refer to.

        A type with news that must wait (for an ACK, or because an answer was split) holds back the
        types behind it. Removals of clusters go when all else has been sent and acknowledged.
        """
        for subscription in tuple(self._subscriptions.values()):
            ledger = self._taking = subscription.ledger
            ledger.interrupted = False
            answer = yield from subscription.take(now)
            if answer is not None:
                yield from self._refresh_endpoints(subscription, answer)
                responses.append((yield from self._respond(subscription, answer, now)))
            if ledger.has_news or ledger.interrupted:
                return
        if all(subscription.settled for subscription in self._subscriptions.values()):
            for subscription in self._subscriptions.values():
                removals = subscription.take_removals()
                if removals is not None:
                    responses.append((yield from self._respond(subscription, removals, now)))

    def _refresh_endpoints(self, subscription: TypeRules[Request], answer: Answer) -> Steps[None]:
        """Owe the client the endpoints of clusters that it is sent.

        It takes a changed cluster into use only with an answer of its endpoints, and doesn't ask
        for what it is subscribed to already.
        """
        endpoints = self._subscriptions.get(types.ENDPOINT)
        if endpoints is None or subscription.ledger.type_url != types.CLUSTER:
            return
        for count, resource in enumerate(answer.resources, 1):
            if resource.name not in answer.repeated:
                name = endpoints_name(resource)
                if name is not None:
                    endpoints.ledger.refresh((name,))
            if not count % STRIDE:
                yield

    def _respond(
        self, subscription: TypeRules[Request], answer: Answer, now: float
    ) -> Steps[Response]:
        response = yield from self._encode(subscription.ledger.type_url, answer)
        self._flights[response.type_url] = _Flight(response.nonce, now)
        return response

    def _encode(self, type_url: str, answer: Answer) -> Steps[Response]:
        self._nonces += 1
        nonce = str(self._nonces)
        parts = yield from self._dialect.encode(type_url, nonce, answer)
        return Response(
            type_url=type_url,
            nonce=nonce,
            resources=len(answer.resources),
            removed=len(answer.removed),
            parts=parts,
        )

    def _type_status(self, subscription: TypeRules[Request]) -> TypeStatus:
        ledger = subscription.ledger
        flight = self._flights.get(ledger.type_url)
        return TypeStatus(
            type_url=ledger.type_url,
            wildcard=ledger.wildcard,
            subscribed=ledger.wanted_count,
            acked=subscription.acked,
            in_flight=len(ledger.in_flight or ()),
            in_flight_since=flight.since if flight else None,
            rejected={name: each for name, each in ledger.rejected.items() if each.stands},
            last_nack=self._last_nacks.get(ledger.type_url),
            kept=subscription.kept,
            sent_outdated=ledger.sent_outdated,
        )


DeltaSession: Final = partial(Session[DeltaRequest], DELTA)
"""A session of delta xDS: `DeltaSession(source)`."""
SotwSession: Final = partial(Session[SotwRequest], SOTW)
"""A session of the state of the world: `SotwSession(source)`."""
