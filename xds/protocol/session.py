"""One stream of delta xDS or state of the world, without I/O: requests in, responses out.

Owns the node of the stream, matches ACKs and NACKs to responses, and orders the resource types. The
rules for each type are in `xds.protocol.delta` and `xds.protocol.sotw`; a
`xds.protocol.variants.ProtocolVariant` selects one of the two. Knows no clock, no gRPC and no other
streams; time is an argument: `now` is in seconds on any monotonic clock, always the same one.

The caller must send what `responses_to_send` returns, in that order: after `receive`, at
`next_deadline`, and when `resources_changed` or `wildcard_changed` returned True. Then it collects
`events`, `interest_changes` and `new_lookups`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Generic

from scopeway.xds import type_urls
from scopeway.xds.arguments import close_unawaited, described
from scopeway.xds.encoding.messages import DeltaRequest, Encoded, SotwRequest, endpoints_name
from scopeway.xds.encoding.references import endpoints_of_cluster
from scopeway.xds.errors import MissingNodeError, ProtocolError
from scopeway.xds.events import (
    Acked,
    Kept,
    Nacked,
    NamesSkipped,
    SessionEvent,
    SourceBlocked,
    TypeNotServed,
)
from scopeway.xds.protocol.backoff import jitter
from scopeway.xds.protocol.lookups import Lookup
from scopeway.xds.protocol.status import Nack, ResourceState, TypeStatus
from scopeway.xds.protocol.subscription_state import (
    BLOCKED_SECONDS,
    ResponseContent,
    SubscriptionState,
)
from scopeway.xds.protocol.ttl import TtlStrippingView, supports_ttl
from scopeway.xds.protocol.variants import DELTA, SOTW, ProtocolVariant, Request, TypeRules
from scopeway.xds.source import AttachesInSteps, MayBeOutdated, Node, NodeView, Source
from scopeway.xds.steps import STRIDE, Steps, finish
from scopeway.xds.text import shown

RESPONSE_LIMIT = 2 << 20
"""Bytes: a response ends with the resource that reaches this size."""
TYPES_LIMIT = 64
"""The most types that a client may request on a stream; Envoy has about fifteen."""
ENDPOINTS_WAIT = 1.0
"""Seconds that later types wait for the client to request the endpoints of a new cluster."""
NAMES_LIMIT = 20_000
"""The most names of one type that a client may be subscribed to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An encoded DeltaDiscoveryResponse or DiscoveryResponse, and how much it holds."""

    type_url: str
    nonce: str
    resources: int
    removed: int
    parts: Sequence[Encoded]
    """The parts of the message. Resources are copied only when the parts are joined to send it."""

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(map(len, self.parts))

    @property
    def data(self) -> bytes:
        """The encoded message: a copy."""
        return b"".join(self.parts)


@dataclass(slots=True)
class _InFlight:
    nonce: str
    since: float


class Session(Generic[Request]):
    """The server's side of one stream.

    Args:
        variant: DELTA or SOTW.
        source: The source of the resources.
        response_limit: Bytes; a response ends with the resource that reaches this size.
        names_limit: The most names of one type that the client may be subscribed to. Further names
            are skipped: a client repeats its names on each stream, so an error would end them all.
        identities: The identities that TLS has verified (`Node.identities`).
        stopwatch: Measures the time that the source takes (`SourceBlocked`): `time.perf_counter`.
    """

    def __init__(
        self,
        variant: ProtocolVariant[Request],
        source: Source,
        *,
        response_limit: int = RESPONSE_LIMIT,
        names_limit: int = NAMES_LIMIT,
        identities: tuple[str, ...] | None = None,
        stopwatch: Callable[[], float] | None = None,
    ) -> None:
        self.node: Node | None = None
        """The node of the client; None until the first request."""
        self._variant: ProtocolVariant[Request] = variant
        self._source = source
        self._response_limit = response_limit
        self._names_limit = names_limit
        self._identities = identities
        self._stopwatch = stopwatch
        self._view: NodeView | None = None
        self._outdated_view: MayBeOutdated | None = None
        self._subscriptions: dict[str, TypeRules[Request]] = {}  # in the send order
        self._requested_types: set[str] = set()
        self._client_has_state = False  # reported while the source is outdated
        self._unserved: set[str] = set()
        # the responses to requests for types that are not served
        self._unserved_contents: list[tuple[str, ResponseContent]] = []
        self._in_progress: SubscriptionState | None = None  # whose response is being built
        self._in_flight: dict[str, _InFlight] = {}
        self._last_nacks: dict[str, Nack] = {}
        self._events: list[SessionEvent] = []
        self._awaited_endpoints: dict[str, float] = {}  # not requested yet, and until when to wait
        self._last_nonce = 0
        self._kept_reported = False  # whether an event said so before

    @property
    def kept(self) -> int:
        """The number of resources that the client keeps (`xds.source.MayBeOutdated`)."""
        return sum(each.kept for each in tuple(self._subscriptions.values()))

    @property
    def sent_outdated(self) -> int:
        """The number of resources that were sent since the source became outdated."""
        return sum(each.state.sent_outdated for each in tuple(self._subscriptions.values()))

    @property
    def group(self) -> str:
        """The group of the stream's node. Only valid after the first request."""
        assert self._view is not None
        return self._view.group

    def receive(self, request: Request, now: float) -> None:
        """Process a request.

        Afterwards the caller must send what `responses_to_send` returns. The node is read from the
        first request only.

        Raises:
            ProtocolError: the stream must end with the status of the error. The session must not be
                used any more, but must be closed.
        """
        finish(self.receive_steps(request, now))

    def receive_steps(self, request: Request, now: float) -> Steps[None]:
        """Do what `receive` does, in steps.

        Between steps, only `resources_changed`, `wildcard_changed`, `caught_up` and
        `interest_changes` may be called. The node is attached (`is_attached`) before the names of
        the request are processed.
        """
        if self._view is None:
            if request.node is None:
                raise MissingNodeError("the first request of the stream names no node")
            self.node = replace(request.node, identities=self._identities)
            if isinstance(self._source, AttachesInSteps):
                yield from self._source.prepare(self.node)
            self._view = self._attach(self.node)
            if isinstance(self._view, MayBeOutdated):
                self._outdated_view = self._view
            if not supports_ttl(self.node, wrapped=self._variant.ttls_wrapped):
                self._view = TtlStrippingView(self._view)
            yield
        skipped = request.skipped
        if request.type_url in self._source.type_urls():
            subscription = self._subscriptions.get(request.type_url) or self._open_subscription(
                request.type_url
            )
            subscription.state.interrupted = False
            stale = yield from self._handle_ack_or_nack(subscription, request, now)
            skipped += yield from subscription.receive(request, stale)
            self._client_has_state = self._client_has_state or bool(subscription.state.kept_names)
        else:
            self._handle_unserved(request, now)
        if skipped:
            self._events.append(NamesSkipped(request.type_url, skipped))

    @property
    def is_attached(self) -> bool:
        """Whether the source has accepted the node."""
        return self._view is not None

    def resources_changed(self, type_url: str, names: Iterable[str]) -> bool:
        """Note that resources were added, changed or removed; return whether the client wants any.

        Costs O(names).
        """
        subscription = self._subscriptions.get(type_url)
        if subscription is None or not subscription.state.resources_changed(names):
            return False
        self._interrupt(type_url)
        return True

    def wildcard_changed(self, type_url: str) -> bool:
        """Note that the wildcard means other names; return whether the client subscribed to it.

        If resources changed too, call `resources_changed` as well.
        """
        subscription = self._subscriptions.get(type_url)
        if subscription is None or not subscription.state.wildcard_changed():
            return False
        self._interrupt(type_url)
        return True

    def everything_changed(self) -> bool:
        """Note that anything may have changed; return whether the client wants anything.

        Costs O(names).
        """
        any_wanted = False
        for type_url, subscription in self._subscriptions.items():
            if subscription.state.everything_changed():
                self._interrupt(type_url)
                any_wanted = True
        return any_wanted

    def new_lookups(self) -> list[Lookup]:
        """Return the lookups that the source answers later and that began since the last call.

        To be called after each use of the session. The caller awaits each `Lookup.answer`, and
        then calls `lookup_finished`.
        """
        new: list[Lookup] = []
        for state in self._subscription_states():
            if state.lookups is not None:
                new += state.lookups.take_new()
        return new

    def lookup_finished(self, lookup: Lookup, answer: object) -> bool:
        """Note what a lookup has brought; return whether the client waits for it.

        Args:
            lookup: One of `new_lookups`.
            answer: What awaiting it has returned, or the exception that it raised.
        """
        subscription = self._subscriptions.get(lookup.type_url)
        if subscription is None or not subscription.state.lookup_finished(lookup, answer):
            return False
        self._interrupt(lookup.type_url)
        return True

    def caught_up(self) -> bool:
        """Note that the source is up to date again; return whether the client kept resources.

        See `xds.source.MayBeOutdated`. Costs O(kept resources).
        """
        self._kept_reported = self._client_has_state = False
        any_kept = False
        for type_url, subscription in self._subscriptions.items():
            if subscription.caught_up():
                self._interrupt(type_url)
                any_kept = True
        return any_kept

    def responses_to_send(self, now: float) -> list[Response]:
        """Return the responses to send now. They count as sent.

        At most one response of each type is in flight. If the list is empty, nothing can be sent
        before the next request, the next change or `next_deadline`.
        """
        return finish(self.response_steps(now))

    def response_steps(self, now: float) -> Steps[list[Response]]:
        """Do what `responses_to_send` does, in steps.

        Between steps, only `resources_changed`, `wildcard_changed`, `caught_up` and
        `interest_changes` may be called; the caller must collect `interest_changes` after each
        step. If a resource of an earlier type in the send order changes meanwhile, the response
        that is being built ends with the resources that it has.
        """
        responses: list[Response] = []
        try:
            yield from self._send_in_order(responses, now)
        finally:
            self._in_progress = None
        for type_url, content in self._unserved_contents:
            responses.append((yield from self._encode(type_url, content)))
        self._unserved_contents = []
        for state in self._subscription_states():
            if state.failures:
                assert self.node is not None
                self._events += state.schedule_retries(now, jitter(self.node.id))
            if state.blocked:
                self._events += state.blocked
                state.blocked = None
            if state.newly_kept:
                self._events.append(Kept(state.type_url, state.newly_kept, not self._kept_reported))
                state.newly_kept, self._kept_reported = 0, True
        return responses

    def next_deadline(self) -> float | None:
        """Return when `responses_to_send` must be called even if nothing else happens; or None.

        A time on the clock of `now`, never before the `now` of the last call. Costs O(types).
        """
        deadlines: list[float] = [*self._awaited_endpoints.values()]
        for state in self._subscription_states():
            if state.next_deadline is not None:
                deadlines.append(state.next_deadline)
            if state.has_pending:  # later types wait for an ACK
                break
        return min(deadlines, default=None)

    def events(self) -> list[SessionEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def interest_changes(self) -> list[tuple[str, str, bool]]:
        """Return the names that the client began or ceased to want since the last call.

        As tuples of type URL, name and whether the client wants it now. A name may be returned
        although it did not change.
        """
        changes: list[tuple[str, str, bool]] = []
        for state in self._subscription_states():
            if state.interest_changes:
                interest_changes = state.interest_changes.items()
                changes += [(state.type_url, name, wanted) for name, wanted in interest_changes]
                state.interest_changes.clear()
        return changes

    def interests(self) -> Iterator[tuple[str, str]]:
        """Yield type URL and name of each resource that the client wants."""
        for state in self._subscription_states():
            for name in state.wanted():
                yield state.type_url, name

    def status(self) -> tuple[TypeStatus, ...]:
        """Return the status of each type. Costs O(names)."""
        return tuple(self._type_status(each) for each in self._subscriptions.values())

    def resource_states(self) -> Iterator[ResourceState]:
        """Yield the status of each resource. Costs O(names) lookups in the source."""
        for state in self._subscription_states():
            yield from state.resource_states()

    def close(self) -> None:
        """End the session: abandon its lookups, and close the view of the node."""
        for state in self._subscription_states():
            if state.lookups is not None:
                state.lookups.discard_all()
        if self._view is not None:
            self._view.close()

    def _attach(self, node: Node) -> NodeView:
        begin = 0.0 if self._stopwatch is None else self._stopwatch()
        view = self._source.attach(node)
        seconds = 0.0 if self._stopwatch is None else self._stopwatch() - begin
        if seconds > BLOCKED_SECONDS:
            self._events.append(SourceBlocked("attach", "", "", seconds))
        missing = [each for each in ("resource", "wildcard", "close") if not hasattr(view, each)]
        if missing:
            close_unawaited(view)
            raise TypeError(
                f"{type(self._source).__name__}.attach({shown(node.id)!r}) returned "
                f"{described(view)}, not a NodeView: it has no {', no '.join(missing)}"
            )
        return view

    def _subscription_states(self) -> list[SubscriptionState]:
        return [subscription.state for subscription in self._subscriptions.values()]

    def _open_subscription(self, type_url: str) -> TypeRules[Request]:
        self._check_types()
        assert self._view is not None
        self._subscriptions[type_url] = self._variant.open(
            type_url, self._view, self._response_limit, self._names_limit
        )
        self._subscriptions = {
            key: self._subscriptions[key]
            for key in sorted(self._subscriptions, key=type_urls.send_rank)
        }
        self._requested_types.add(type_url)
        state = self._subscriptions[type_url].state
        state.requested_types, state.outdated_view = self._requested_types, self._outdated_view
        state.client_has_state = self._client_has_state
        state.stopwatch = self._stopwatch
        for state in self._subscription_states():
            state.resume_deferred()
        return self._subscriptions[type_url]

    def _check_types(self) -> None:
        if len(self._subscriptions) + len(self._unserved) >= TYPES_LIMIT:
            raise ProtocolError(
                f"the stream requests more than {TYPES_LIMIT} types", status="RESOURCE_EXHAUSTED"
            )

    def _handle_unserved(self, request: Request, now: float) -> None:
        """Respond to a request for a type that is not served; remember only the type."""
        type_url = request.type_url
        first = type_url not in self._unserved
        if first:
            self._check_types()
            self._unserved.add(type_url)
            self._events.append(TypeNotServed(type_url))
        if request.error is not None:
            self._events.append(Nacked(type_url, (), request.error.code, request.error.message))
        content = self._variant.unserved(request, first)
        if content is not None:
            self._unserved_contents.append((type_url, content))

    def _interrupt(self, type_url: str) -> None:
        """End the response that is being built, if this type goes before it in the send order."""
        state = self._in_progress
        if state is not None and type_urls.send_rank(type_url) < type_urls.send_rank(
            state.type_url
        ):
            state.interrupted = True

    def _handle_ack_or_nack(
        self, subscription: TypeRules[Request], request: Request, now: float
    ) -> Steps[bool]:
        """Handle the ACK or NACK in a request; return whether its nonce is a stale one."""
        type_url, error = request.type_url, request.error
        flight = self._in_flight.get(type_url)
        paired = flight is not None and flight.nonce == request.response_nonce
        if paired:
            del self._in_flight[type_url]
            self._in_flight = self._in_flight or {}  # an emptied dict keeps its memory
        if error is not None:
            if type_url == type_urls.CLUSTER:
                self._awaited_endpoints = {}
            names = (yield from subscription.reject(error)) if paired else ()
            nack = Nack(names=names, code=error.code, message=error.message, at=now)
            self._last_nacks[type_url] = nack
            self._events.append(Nacked(type_url, names, error.code, error.message))
        elif flight is not None and paired:
            yield from subscription.acknowledge(now)
            last = self._last_nacks.get(type_url)
            if last is not None and last.is_current:
                self._last_nacks[type_url] = replace(last, is_current=False)
            self._events.append(Acked(type_url, now - flight.since))
        return flight is not None and not paired and request.response_nonce != ""

    def _send_in_order(self, responses: list[Response], now: float) -> Steps[None]:
        """Build the responses so that no resource is sent before one that it may refer to.

        A type with pending changes blocks the types after it: it waits for an ACK, or its response
        was split. So do new clusters whose endpoints the client has not requested yet. Removals of
        clusters are sent when all else has been sent and accepted, and the source knows what
        replaces the resources that the client has. After a NACK of routes, for example, the client
        still uses the routes before, and their clusters stay.
        """
        self._stop_waiting_for_endpoints(now)
        for subscription in tuple(self._subscriptions.values()):
            state = self._in_progress = subscription.state
            state.interrupted = False
            if self._awaits_endpoints(state.type_url):
                return
            content = yield from subscription.next_response(now)
            if content is not None:
                yield from self._refresh_endpoints(subscription, content, now)
                responses.append((yield from self._to_response(subscription, content, now)))
            if state.has_pending or state.interrupted:
                return
        subscriptions = self._subscriptions.values()
        if all(each.settled and not self._uses_older(each) for each in subscriptions):
            for subscription in self._subscriptions.values():
                removals = subscription.next_removals()
                if removals is not None:
                    responses.append((yield from self._to_response(subscription, removals, now)))

    @staticmethod
    def _uses_older(subscription: TypeRules[Request]) -> bool:
        """Return whether the client may refer to clusters by resources that were to be replaced."""
        state = subscription.state
        is_referring = state.type_url != type_urls.CLUSTER
        return state.awaits_held_resource or (is_referring and state.has_rejected_update)

    def _awaits_endpoints(self, type_url: str) -> bool:
        """Return whether a type must wait until the client requests the endpoints of a cluster.

        The client requests them when it has the new cluster, and can use it when it has both.
        """
        return bool(self._awaited_endpoints) and type_urls.send_rank(
            type_url
        ) > type_urls.send_rank(type_urls.ENDPOINT)

    def _stop_waiting_for_endpoints(self, now: float) -> None:
        """Forget the endpoints that the client has requested, or will hardly request any more."""
        if self._awaited_endpoints:
            wants = self._subscriptions[type_urls.ENDPOINT].state.wants
            self._awaited_endpoints = {
                name: until
                for name, until in self._awaited_endpoints.items()
                if until > now and not wants(name)
            }

    def _refresh_endpoints(
        self, subscription: TypeRules[Request], content: ResponseContent, now: float
    ) -> Steps[None]:
        """Send the endpoints of the clusters in a response again.

        The client uses a changed cluster only after a response with its endpoints. It does not
        request them if it is subscribed to them already.
        """
        endpoints = self._subscriptions.get(type_urls.ENDPOINT)
        if endpoints is None or subscription.state.type_url != type_urls.CLUSTER:
            return
        for count, resource in enumerate(content.resources, 1):
            if resource.name not in content.unchanged:
                name = endpoints_name(resource)
                if name is not None:
                    endpoints.state.resend((name,))
                    if not endpoints.state.wants(name) and endpoints_of_cluster(resource)[1]:
                        # new clusters do not prolong a wait
                        until = next(iter(self._awaited_endpoints.values()), now + ENDPOINTS_WAIT)
                        self._awaited_endpoints[name] = until
            if not count % STRIDE:
                yield

    def _to_response(
        self, subscription: TypeRules[Request], content: ResponseContent, now: float
    ) -> Steps[Response]:
        response = yield from self._encode(subscription.state.type_url, content)
        self._in_flight[response.type_url] = _InFlight(response.nonce, now)
        return response

    def _encode(self, type_url: str, content: ResponseContent) -> Steps[Response]:
        self._last_nonce += 1
        nonce = str(self._last_nonce)
        parts = yield from self._variant.encode(type_url, nonce, content)
        return Response(
            type_url=type_url,
            nonce=nonce,
            resources=len(content.resources),
            removed=len(content.removed),
            parts=parts,
        )

    def _type_status(self, subscription: TypeRules[Request]) -> TypeStatus:
        state = subscription.state
        flight = self._in_flight.get(state.type_url)
        return TypeStatus(
            type_url=state.type_url,
            wildcard=state.wildcard,
            subscribed=state.wanted_count,
            acked=subscription.acked,
            in_flight=len(state.in_flight or ()),
            in_flight_since=flight.since if flight else None,
            rejected={name: each for name, each in state.rejected.items() if each.is_current},
            last_nack=self._last_nacks.get(state.type_url),
            kept=subscription.kept,
            sent_outdated=state.sent_outdated,
        )


DeltaSession: Final = partial(Session[DeltaRequest], DELTA)
"""A session of delta xDS: `DeltaSession(source)`."""
SotwSession: Final = partial(Session[SotwRequest], SOTW)
"""A session of state of the world: `SotwSession(source)`."""
