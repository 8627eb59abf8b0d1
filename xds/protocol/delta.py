"""One resource type on one delta stream: what a request, an ACK or a NACK means, what goes next.

Owns the rules for a single type, and writes what they make of it into a `Ledger`; does not know the
other types of the stream, nonces or bytes.

A version is that of the resource, or ABSENT where there is no resource. The client is owed a name
when the version now differs from the one it holds, or when it asked (`pending[name]` is True).

Invariant: while a response is in flight (`in_flight`), no other is made; what changes meanwhile
gathers in `pending`, once for each name, and is looked up only when it is sent.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
"""

from collections.abc import Iterable, Iterator, Mapping

from scopeway.xds.encoding.messages import DeltaRequest, ErrorDetail, heartbeat
from scopeway.xds.protocol.status import ABSENT, Rejection
from scopeway.xds.protocol.subscription_state import WILDCARD, Answer, Ledger
from scopeway.xds.resource import Resource
from scopeway.xds.source import KnowsVersions, NodeView
from scopeway.xds.steps import STRIDE, Steps


class Subscription:
    """A client's subscription to the resources of one type."""

    __slots__ = (
        "_beats",
        "_limit",
        "_names_limit",
        "_removals",
        "_started",
        "_suspects",
        "_suspects_next",
        "_versions",
        "ledger",
    )

    def __init__(
        self,
        type_url: str,
        view: NodeView,
        *,
        limit: int,
        names_limit: int,
        removals_last: bool,
    ) -> None:
        self.ledger = Ledger(type_url, view)
        self._versions = view if isinstance(view, KnowsVersions) else None
        self._limit = limit  # of the bytes of one answer
        self._names_limit = names_limit
        self._started = False
        # as `pending`: removals that wait for their time; None: they don't wait
        self._removals: dict[str, bool] | None = {} if removals_last else None
        self._suspects: dict[tuple[str, ...], None] = {}  # groups to be sent apart
        self._suspects_next = False  # they take turns with what is pending
        self._beats: tuple[str, ...] = ()  # the names in flight, where it is a heartbeat

    @property
    def settled(self) -> bool:
        """Whether the client has answered all there was, removals that wait left out."""
        return self.ledger.in_flight is None and not self._suspects and not self.ledger.has_news

    @property
    def acked(self) -> int:
        """The number of resources that the client holds, as far as is known."""
        return sum(1 for _ in self.ledger.held())

    # what the client says

    def receive(self, request: DeltaRequest, stale: bool) -> Steps[int]:
        """Apply the changes of a request; ACK and NACK are the caller's to pair.

        Args:
            request: What the client says.
            stale: Whether it is of an earlier response. Its changes count all the same.

        Returns:
            How many names were skipped, because the client would have more than it may.
        """
        skipped = 0
        versions: Mapping[str, str] = {} if self._started else request.initial_versions
        if len(versions) > self._names_limit:  # no client holds so many: it need not be believed
            versions = {}
        legacy_wildcard = not self._started and request.names_nothing
        first, self._started = not self._started, True
        for count, name in enumerate(request.unsubscribe, 1):
            if name == WILDCARD:
                yield from self._leave_wildcard()
            else:
                self._unsubscribe(name)
            if not count % STRIDE:
                yield
        if legacy_wildcard or WILDCARD in request.subscribe:
            yield from self._enter_wildcard(versions)
            self.ledger.additions_withheld = False  # asked for again: it may have forgotten them
        for count, name in enumerate(request.subscribe, 1):
            if not count % STRIDE:
                yield
            if name == WILDCARD:
                continue
            named = self.ledger.named
            if len(named) >= self._names_limit and name not in named:
                skipped += 1
            else:
                self._subscribe(name, versions)
        if first:
            yield from self.ledger.report(versions)
            self.ledger.withhold_additions()
        return skipped

    def _subscribe(self, name: str, versions: Mapping[str, str]) -> None:
        ledger = self.ledger
        ledger.add_name(name)
        ledger.interest[name] = True
        # the client may have forgotten what it held: only what it lists now can go unanswered
        ledger.pending[name] = name not in versions
        if name in versions:
            ledger.hold(name, versions[name])
        elif ledger.foreign:
            ledger.foreign.pop(name, None)

    def _unsubscribe(self, name: str) -> None:
        ledger = self.ledger
        if name not in ledger.named:
            return
        ledger.drop_name(name)
        if ledger.wildcard:
            # the client cannot know whether the wildcard has it too, so it must be told
            ledger.pending[name] = True
            ledger.interest[name] = name in ledger.members
        else:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self.ledger.forget(name)
        if self._removals:
            self._removals.pop(name, None)

    def _enter_wildcard(self, versions: Mapping[str, str]) -> Steps[None]:
        ledger = self.ledger
        for name in ledger.members:  # asked for again: the client may have forgotten them
            ledger.pending[name] = True
            ledger.foreign.pop(name, None)
        for count, (name, version) in enumerate(versions.items(), 1):
            ledger.hold(name, version)
            ledger.pending.setdefault(name, False)
            if not count % STRIDE:
                yield
        ledger.wildcard = ledger.members_stale = True
        # a new client waits for its first answer, be it empty; a returning one has had it
        ledger.due = not versions

    def _leave_wildcard(self) -> Steps[None]:
        # the client drops all that it did not name by itself, and expects no word about it
        ledger = self.ledger
        ledger.wildcard = ledger.members_stale = ledger.due = False
        ledger.additions_withheld = False
        left = {*ledger.members, *ledger.held(), *ledger.pending} - ledger.named.keys()
        ledger.members = frozenset()
        for count, name in enumerate(left, 1):
            self._forget(name)
            if not count % STRIDE:
                yield

    @property
    def kept(self) -> int:
        """The number of resources that the client keeps, as the source is outdated."""
        return len(self.ledger.foreign)

    def caught_up(self) -> bool:
        """The source is outdated no longer; return whether the client has kept anything."""
        return self.ledger.caught_up()

    def acknowledge(self, now: float) -> Steps[None]:
        """The client took the response in flight, and counts the seconds of its TTLs."""
        ledger = self.ledger
        for count, (name, version) in enumerate(ledger.landed().items(), 1):
            if not count % STRIDE:
                yield
            if version == ABSENT or not self._may_hold(name):
                ledger.hold(name, ABSENT)
            else:
                ledger.hold(name, version)
                if not ledger.wants(name):  # lost on the way: the wildcard was left and taken anew
                    ledger.pending.setdefault(name, False)
            ledger.taken(name, now)

    def reject(self, error: ErrorDetail) -> Steps[tuple[str, ...]]:
        """The client rejected the response in flight; return the names that it held.

        A client may have applied some of several resources, and does not say which. So they are
        sent again in halves, until every bad one has been rejected alone: then its version is
        known, and the others are in place. One that rejects a heartbeat is sent the resource.
        """
        ledger, versions = self.ledger, self.ledger.landed()
        for name in filter(self._may_hold, self._beats):
            ledger.runs_out(name)
            ledger.hold(name, ABSENT)  # it has lost it
            ledger.foreign.pop(name, None)
            ledger.pending.setdefault(name, False)
        names = tuple(versions)
        if len(names) > 1:
            middle = len(names) // 2
            self._suspects |= {names[:middle]: None, names[middle:]: None}
            for count, name in enumerate(filter(self._may_hold, names), 1):
                ledger.doubted[name] = Rejection(versions[name], error.message)
                if not count % STRIDE:
                    yield
        for name in names if len(names) == 1 else ():
            ledger.doubted.pop(name, None)
            # it may have been asked for before its group's turn came
            if any(name in group for group in self._suspects):
                self._suspects = dict.fromkeys(_without(name, self._suspects))
            if self._may_hold(name):
                ledger.rejected[name] = Rejection(versions[name], error.message)
        return names or self._beats

    # what is to be sent

    def take(self, now: float) -> Steps[Answer | None]:
        """Return what to send now, which is in flight from then on; None if there is nothing.

        Yields after each lookup, which may compile a resource: milliseconds.
        """
        if self.ledger.in_flight is not None:
            return None
        self.ledger.look_at_members()
        self.ledger.try_again(now)
        # heartbeats go alone, and first, as others may take long; but not twice before some news
        answer = None if self._beats and self.ledger.has_news else self._take_heartbeats(now)
        if answer is None and self._suspects_next:
            answer = yield from self._take_suspects()
        answer = answer or (yield from self._take_pending())
        if answer is None and not self.ledger.interrupted:
            answer = yield from self._take_suspects()
        return answer or self._take_heartbeats(now)

    def take_removals(self) -> Answer | None:
        """Return the removals that waited for everything else; None if there are none."""
        if self.ledger.in_flight is not None or not self._removals:
            return None
        answer = Answer()
        for name in self._removals:
            answer.add(name, None)
        self._removals = {}
        self._send(answer)
        return answer

    def _send(self, answer: Answer, beats: tuple[str, ...] = ()) -> None:
        self.ledger.sent(answer)
        self._beats = beats

    def _take_heartbeats(self, now: float) -> Answer | None:
        ledger = self.ledger
        if ledger.due_at is None:  # as nearly always
            return None
        answer = Answer()
        for name, ttl in ledger.refreshes_due(now):
            beat = heartbeat(ledger.type_url, name, ledger.version(name), ttl)
            answer.resources.append(beat)
            answer.size += len(beat.framed)
            if answer.size >= self._limit:
                break
        if not answer.resources:
            return None
        self._send(answer, tuple(beat.name for beat in answer.resources))
        return answer

    def _take_pending(self) -> Steps[Answer | None]:
        ledger = self.ledger
        if not ledger.has_news:
            return None
        answer = Answer()
        for name, asked in list(ledger.pending.items()):
            if answer.size >= self._limit or ledger.interrupted:
                break
            del ledger.pending[name]
            yield from self._consider(answer, name, asked)
            yield
        if not ledger.pending:
            ledger.pending = {}  # an emptied one keeps its room, 1.5 kB for 50 names
        if not answer.versions and (not ledger.due or ledger.interrupted):
            return None
        ledger.due = False
        self._suspects_next = True
        self._send(answer)
        return answer

    def _consider(self, answer: Answer, name: str, asked: bool) -> Steps[None]:
        """Put a pending name where it belongs: into the answer, apart, to the last, or nowhere."""
        ledger = self.ledger
        asked = asked or ledger.was_asked(name)
        if self._removals:
            asked = self._removals.pop(name, False) or asked
        if not asked and self._has_current(name):
            ledger.there_is(name, ledger.version(name))
            ledger.found_out(name)
            if ledger.foreign:
                ledger.foreign.pop(name, None)
            return
        found, resource = yield from ledger.look_up(name, asked=asked)
        if not found:
            return
        if ledger.keep(name, resource):
            if resource is not None and resource.ttl is not None:
                ledger.refresh_kept(name, resource.ttl)
            return
        if ledger.defer(name, resource):
            return
        version = resource.version if resource else ABSENT
        ledger.there_is(name, version)
        rejection = ledger.rejected.get(name)
        if not asked and (
            (rejection is not None and rejection.version == version)
            or (version == ledger.version(name) and not self._runs_out(name, resource))
        ):
            return
        holds = ledger.version(name) != ABSENT
        if resource is None and holds and self._removals is not None:
            self._removals[name] = asked
        elif rejection is not None:
            self._suspects[(name,)] = None
        else:
            answer.add(name, resource)

    def _has_current(self, name: str) -> bool:
        ledger, held = self.ledger, self.ledger.version(name)
        return (
            held != ABSENT
            and self._versions is not None
            and ledger.wants(name)
            and self._versions.is_current(ledger.type_url, name, held)
        )

    def _runs_out(self, name: str, resource: Resource | None) -> bool:
        # a client that came back with it counts already, and doesn't say from when on
        has_ttl = resource is not None and resource.ttl is not None
        return has_ttl and not self.ledger.refreshed(name)

    def _take_suspects(self) -> Steps[Answer | None]:
        while self._suspects:
            group = next(iter(self._suspects))
            del self._suspects[group]
            answer = Answer()
            for name in group:
                if self._may_hold(name):
                    found, resource = yield from self.ledger.look_up(name, asked=True)
                    self.ledger.pending.pop(name, None)
                    if found:
                        answer.add(name, resource)
                    yield
                    if self.ledger.interrupted:
                        self._suspects[group] = None
                        return None
            if answer.versions:
                self._suspects_next = False
                self._send(answer)
                return answer
        return None

    def _may_hold(self, name: str) -> bool:
        return self.ledger.wildcard or name in self.ledger.named


def _without(name: str, groups: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for group in groups:
        rest = tuple(each for each in group if each != name)
        if rest:
            yield rest
