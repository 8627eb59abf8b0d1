"""One resource type on one delta stream: what the client wants, holds and has rejected.

Owns the rules for a single type; does not know the other types of the stream, nonces or bytes.

A version is that of the resource, or ABSENT where there is no resource. The client is owed a name
when the version now differs from the one it holds, or when it asked (`_pending[name]` is True).

Invariant: while a response is in flight (`in_flight`), no other is made; what changes meanwhile
gathers in `_pending`, once for each name, and is looked up only when it is sent.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from xds.codec import DeltaRequest, ErrorDetail, heartbeat
from xds.events import LookupFailed
from xds.resource import Resource
from xds.source import KnowsVersions, NodeView
from xds.state import ABSENT, Progress, Rejection, ResourceState
from xds.ttl import Refreshes

WILDCARD = "*"


@dataclass(slots=True)
class Answer:
    """The content of one response."""

    resources: list[Resource] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    """The version of every name in it; ABSENT for the removed ones, heartbeats left out."""
    ttls: dict[str, float] = field(default_factory=dict)
    """Of the names that have one."""
    size: int = 0
    version_info: str = ""
    """Of the state of the world; delta has none."""

    def add(self, name: str, resource: Resource | None) -> None:
        """Take in a resource, or that there is none by this name."""
        if resource is None:
            self.removed.append(name)
            self.versions[name] = ABSENT
            self.size += len(name)
        else:
            self.resources.append(resource)
            # the resource's own string, so that streams share it
            self.versions[resource.name] = resource.version
            self.size += len(resource.framed)
            if resource.ttl is not None:
                self.ttls[resource.name] = resource.ttl


class Subscription:
    """A client's subscription to the resources of one type."""

    def __init__(
        self,
        type_url: str,
        view: NodeView | None,
        *,
        limit: int,
        names_limit: int,
        removals_last: bool,
    ) -> None:
        self.type_url = type_url
        self.in_flight: dict[str, str] | None = None
        """The versions in the response that is not acknowledged yet."""
        self.interest: dict[str, bool] = {}
        """Names that came (True) or went (False) since the owner last emptied this."""
        self.failures: list[LookupFailed] = []
        """Lookups that failed since the owner last emptied this."""
        self.rejected: dict[str, Rejection] = {}
        """Versions that were rejected alone in their response."""
        self._view = view  # None: the type is not served, so none of its names exists
        self._versions = view if isinstance(view, KnowsVersions) else None
        self._limit = limit  # of the bytes of one answer
        self._names_limit = names_limit
        self._removals_last = removals_last
        self._started = False
        self._wildcard = False
        self._wildcard_stale = False  # _members must be asked for again
        self._empty_due = False  # an answer is due even if it is empty
        self._named: set[str] = set()  # subscribed by name
        self._members: set[str] = set()  # subscribed by the wildcard
        self._held: dict[str, str] = {}  # versions the client has, as far as is known
        self._pending: dict[str, bool] = {}  # names to look at; True: answer even if unchanged
        self._removals: dict[str, bool] = {}  # as _pending: removals that wait for their time
        self._suspects: dict[tuple[str, ...], None] = {}  # groups to be sent apart
        self._suspects_next = False  # they take turns with what is pending
        self._doubted: dict[str, Rejection] = {}  # rejected among others, and not seen since
        self._refreshes = Refreshes()  # of what is held with a TTL
        self._ttls: dict[str, float] = {}  # of the response in flight
        self._beats: tuple[str, ...] = ()  # the names in flight, where it is a heartbeat

    @property
    def has_news(self) -> bool:
        """Whether something may have to be sent, removals that wait and suspects left out."""
        return bool(self._pending) or self._wildcard_stale or self._empty_due

    @property
    def settled(self) -> bool:
        """Whether the client has answered all there was, removals that wait left out."""
        return self.in_flight is None and not self._suspects and not self.has_news

    @property
    def refresh_at(self) -> float | None:
        """When the client must be told that what it holds lives on; None: never, or not yet."""
        return self._refreshes.next if self.in_flight is None else None

    @property
    def wildcard(self) -> bool:
        """Whether the client has a wildcard subscription."""
        return self._wildcard

    @property
    def acked(self) -> int:
        """The number of resources that the client holds, as far as is known."""
        return len(self._held)

    def wanted(self) -> Iterator[str]:
        """Yield every name that the client wants."""
        yield from self._named
        yield from self._members - self._named

    def states(self) -> Iterator[ResourceState]:
        """Yield how far the client is with each name that it wants; costs O(names) lookups."""
        progress = Progress(
            type_url=self.type_url,
            view=self._view,
            in_flight=self.in_flight or {},
            held=self._held,
            rejected=self.rejected,
            doubted=self._doubted,
        )
        members = self._members
        if self._wildcard_stale and self._view is not None:
            members = set(self._view.wildcard(self.type_url))
        for name in sorted(self._named | members):
            yield progress.state(name, owed=self._pending.get(name, False))

    # what the client says

    def receive(self, request: DeltaRequest) -> int:
        """Apply the changes of a request; ACK and NACK are the caller's to pair.

        Returns:
            How many names were skipped, because the client would have more than it may.
        """
        skipped = 0
        versions: Mapping[str, str] = {} if self._started else request.initial_versions
        if len(versions) > self._names_limit:  # no client holds so many: it need not be believed
            versions = {}
        legacy_wildcard = not self._started and request.names_nothing
        self._started = True
        for name in request.unsubscribe:
            if name == WILDCARD:
                self._leave_wildcard()
            else:
                self._unsubscribe(name)
        if legacy_wildcard or WILDCARD in request.subscribe:
            self._enter_wildcard(versions)
        for name in request.subscribe:
            if name == WILDCARD:
                continue
            if len(self._named) >= self._names_limit and name not in self._named:
                skipped += 1
            else:
                self._subscribe(name, versions)
        return skipped

    def _subscribe(self, name: str, versions: Mapping[str, str]) -> None:
        self._named.add(name)
        self.interest[name] = True
        # the client may have forgotten what it held: only what it lists now can go unanswered
        self._pending[name] = name not in versions or self._pending.get(name, False)
        if name in versions:
            self._held[name] = versions[name]

    def _unsubscribe(self, name: str) -> None:
        if name not in self._named:
            return
        self._named.discard(name)
        if self._wildcard:
            # the client cannot know whether the wildcard has it too, so it must be told
            self._pending[name] = True
            self.interest[name] = name in self._members
        else:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self.interest[name] = False
        for table in (self._pending, self._held, self.rejected, self._doubted, self._removals):
            table.pop(name, None)
        self._refreshes.drop(name)

    def _enter_wildcard(self, versions: Mapping[str, str]) -> None:
        for name in self._members:  # asked for again: the client may have forgotten them
            self._pending[name] = True
        for name, version in versions.items():
            self._held[name] = version
            self._pending.setdefault(name, False)
        self._wildcard = self._wildcard_stale = True
        # a new client waits for its first answer, be it empty; a returning one has had it
        self._empty_due = not versions

    def _leave_wildcard(self) -> None:
        # the client drops all that it did not name by itself, and expects no word about it
        self._wildcard = self._wildcard_stale = self._empty_due = False
        for name in {*self._members, *self._held, *self._pending} - self._named:
            self._forget(name)
        self._members = set()

    def acknowledge(self, now: float) -> None:
        """The client took the response in flight, and counts the seconds of its TTLs."""
        versions, self.in_flight = self.in_flight or {}, None
        for name, version in versions.items():
            self.rejected.pop(name, None)
            self._doubted.pop(name, None)
            self._refreshes.drop(name)
            if version == ABSENT or not self._may_hold(name):
                self._held.pop(name, None)
            else:
                self._held[name] = version
                if name in self._ttls:
                    self._refreshes.arm(name, self._ttls[name], now)
                if not self._wants(name):  # lost on the way: the wildcard was left and taken anew
                    self._pending.setdefault(name, False)

    def reject(self, error: ErrorDetail) -> tuple[str, ...]:
        """The client rejected the response in flight; return the names that it held.

        A client may have applied some of several resources, and does not say which. So they are
        sent again in halves, until every bad one has been rejected alone: then its version is
        known, and the others are in place. One that rejects a heartbeat is sent the resource.
        """
        versions, self.in_flight = self.in_flight or {}, None
        for name in filter(self._may_hold, self._beats):
            self._refreshes.drop(name)
            self._held.pop(name, None)  # it has lost it
            self._pending.setdefault(name, False)
        names = tuple(versions)
        if len(names) > 1:
            middle = len(names) // 2
            self._suspects |= {names[:middle]: None, names[middle:]: None}
            for name in filter(self._may_hold, names):
                self._doubted[name] = Rejection(versions[name], error.message)
        for name in names if len(names) == 1 else ():
            self._doubted.pop(name, None)
            # it may have been asked for before its group's turn came
            self._suspects = dict.fromkeys(_without(name, self._suspects))
            if self._may_hold(name):
                self.rejected[name] = Rejection(versions[name], error.message)
        return names or self._beats

    # what the source says

    def changed(self, names: Iterable[str]) -> bool:
        """Note that resources changed; return whether the client wants any of them."""
        wanted = [name for name in names if self._wants(name)]
        for name in wanted:
            self._pending.setdefault(name, False)
        return bool(wanted)

    def refresh(self, names: Iterable[str]) -> None:
        """Owe the client these resources even if they are what it has, as far as it wants them."""
        for name in names:
            if self._wants(name):
                self._pending[name] = True

    def wildcard_changed(self) -> bool:
        """Note that the wildcard means other names; return whether the client has one."""
        self._wildcard_stale = self._wildcard
        return self._wildcard

    # what is to be sent

    def take(self, now: float) -> Answer | None:
        """Return what to send now, which is in flight from then on; None if there is nothing."""
        if self.in_flight is not None:
            return None
        self._refresh_members()
        # heartbeats go alone, and first, as others may take long; but not twice before some news
        answer = None if self._beats and self.has_news else self._take_heartbeats(now)
        if answer is None and self._suspects_next:
            answer = self._take_suspects()
        answer = answer or self._take_pending() or self._take_suspects()
        return answer or self._take_heartbeats(now)

    def take_removals(self) -> Answer | None:
        """Return the removals that waited for everything else; None if there are none."""
        if self.in_flight is not None or not self._removals:
            return None
        answer = Answer()
        for name in self._removals:
            answer.add(name, None)
        self._removals = {}
        self._send(answer)
        return answer

    def _send(self, answer: Answer, beats: tuple[str, ...] = ()) -> None:
        self.in_flight = answer.versions
        self._ttls, self._beats = answer.ttls, beats

    def _take_heartbeats(self, now: float) -> Answer | None:
        answer = Answer()
        for name, ttl in self._refreshes.due(now):
            beat = heartbeat(self.type_url, name, self._held[name], ttl)
            answer.resources.append(beat)
            answer.size += len(beat.framed)
            if answer.size >= self._limit:
                break
        if not answer.resources:
            return None
        self._send(answer, tuple(beat.name for beat in answer.resources))
        return answer

    def _take_pending(self) -> Answer | None:
        answer = Answer()
        for name, asked in list(self._pending.items()):
            if answer.size >= self._limit:
                break
            del self._pending[name]
            self._consider(answer, name, asked)
        if not answer.versions and not self._empty_due:
            return None
        self._empty_due = False
        self._suspects_next = True
        self._send(answer)
        return answer

    def _consider(self, answer: Answer, name: str, asked: bool) -> None:
        """Put a pending name where it belongs: into the answer, apart, to the last, or nowhere."""
        asked = self._removals.pop(name, False) or asked
        if not asked and self._has_current(name):
            return
        found, resource = self._look_up(name)
        if not found:
            return
        version = resource.version if resource else ABSENT
        rejection = self.rejected.get(name)
        if not asked and (
            (rejection is not None and rejection.version == version)
            or (version == self._held.get(name, ABSENT) and not self._runs_out(name, resource))
        ):
            return
        if resource is None and self._removals_last and name in self._held:
            self._removals[name] = asked
        elif rejection is not None:
            self._suspects[(name,)] = None
        else:
            answer.add(name, resource)

    def _has_current(self, name: str) -> bool:
        held = self._held.get(name)
        return (
            held is not None
            and self._versions is not None
            and self._wants(name)
            and self._versions.is_current(self.type_url, name, held)
        )

    def _runs_out(self, name: str, resource: Resource | None) -> bool:
        # a client that came back with it counts already, and doesn't say from when on
        return resource is not None and resource.ttl is not None and name not in self._refreshes

    def _take_suspects(self) -> Answer | None:
        while self._suspects:
            group = next(iter(self._suspects))
            del self._suspects[group]
            answer = Answer()
            for name in group:
                if self._may_hold(name):
                    found, resource = self._look_up(name)
                    self._pending.pop(name, None)
                    if found:
                        answer.add(name, resource)
            if answer.versions:
                self._suspects_next = False
                self._send(answer)
                return answer
        return None

    def _look_up(self, name: str) -> tuple[bool, Resource | None]:
        if self._view is None or not self._wants(name):
            return True, None
        try:
            return True, self._view.resource(self.type_url, name)
        except Exception as error:
            # one name that cannot be looked up must not cost the client all the others
            self.failures.append(LookupFailed(self.type_url, name, error))
            return False, None

    def _refresh_members(self) -> None:
        if not self._wildcard_stale:
            return
        self._wildcard_stale = False
        members = set(self._view.wildcard(self.type_url)) if self._view else set()
        for name in sorted(members ^ self._members):
            self._pending.setdefault(name, False)
            self.interest[name] = name in members or name in self._named
        self._members = members

    def _wants(self, name: str) -> bool:
        return name in self._named or name in self._members

    def _may_hold(self, name: str) -> bool:
        return self._wildcard or name in self._named


def _without(name: str, groups: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for group in groups:
        rest = tuple(each for each in group if each != name)
        if rest:
            yield rest
