"""One resource type on one state-of-the-world stream: what its client wants, has and rejects.

The counterpart of `xds.subscription`, with the same use. It differs where the protocol does: a
request lists all names anew; of clusters, listeners and scoped routes an answer is the complete
state (what it leaves out is gone); of other types it holds what is news, and no removal can be
told.

Invariant: `version_info` is a function of the names and versions that the client has been shown,
so it survives a restart, agrees between replicas, and moves only with what this client sees.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

from xds import types
from xds.codec import ErrorDetail, SotwRequest
from xds.events import LookupFailed
from xds.resource import Resource
from xds.source import NodeView
from xds.state import ABSENT, Progress, Rejection, ResourceState
from xds.subscription import WILDCARD, Answer
from xds.ttl import Refreshes

WHOLE: Final = frozenset({types.CLUSTER, types.LISTENER, types.SCOPED_ROUTE})
"""Types whose answers are the complete state of what the client wants."""


class SotwSubscription:
    """A client's subscription to the resources of one type."""

    def __init__(
        self,
        type_url: str,
        view: NodeView | None,
        *,
        limit: int,
        names_limit: int,
    ) -> None:
        self.type_url = type_url
        self.in_flight: dict[str, str] | None = None
        """The versions in the response that is not acknowledged yet."""
        self.interest: dict[str, bool] = {}
        """Names that came (True) or went (False) since the owner last emptied this."""
        self.failures: list[LookupFailed] = []
        """Lookups that failed since the owner last emptied this."""
        self.rejected: dict[str, Rejection] = {}
        self._view = view
        self._limit = limit
        self._names_limit = names_limit
        self._whole = type_url in WHOLE
        self._started = False
        self._wildcard = False
        self._wildcard_stale = False
        self._has_named = False  # from then on an empty list means nothing, not everything
        self._due = False  # an answer is due even if nothing has changed
        self._named: dict[str, None] = {}
        self._members: set[str] = set()
        self._shown: dict[str, str] = {}  # versions that were sent last
        self._sum = 0  # of `_shown`, see `_mark`
        self._pending: dict[str, bool] = {}  # True: answer even if unchanged
        self._suspects: dict[str, None] = {}  # rejected among others; to be sent alone
        self._doubted: dict[str, Rejection] = {}  # rejected among others, and not seen since
        self._refreshes = Refreshes()  # of what was shown with a TTL
        self._ttls: dict[str, float] = {}  # of the response in flight

    @property
    def has_news(self) -> bool:
        """Whether something may have to be sent, suspects left out."""
        return bool(self._pending) or self._wildcard_stale or self._due

    @property
    def settled(self) -> bool:
        """Whether the client has answered all there was."""
        return self.in_flight is None and not self._suspects and not self.has_news

    @property
    def refresh_at(self) -> float | None:
        """When the client must be told that what it has lives on; None: never, or not yet."""
        return self._refreshes.next if self.in_flight is None else None

    @property
    def wildcard(self) -> bool:
        """Whether the client has a wildcard subscription."""
        return self._wildcard

    @property
    def acked(self) -> int:
        """The number of resources that the client has been shown and not rejected."""
        return len(self._shown.keys() - self.rejected.keys() - (self.in_flight or {}).keys())

    def wanted(self) -> Iterator[str]:
        """Yield every name that the client wants."""
        yield from self._named
        yield from self._members - self._named.keys()

    def states(self) -> Iterator[ResourceState]:
        """Yield how far the client is with each name that it wants; costs O(names) lookups."""
        progress = Progress(
            type_url=self.type_url,
            view=self._view,
            in_flight=self.in_flight or {},
            held=self._shown,
            rejected=self.rejected,
            doubted=self._doubted,
        )
        members = self._members
        if self._wildcard_stale and self._view is not None:
            members = set(self._view.wildcard(self.type_url))
        for name in sorted(self._named.keys() | members):
            yield progress.state(name, owed=self._due or self._pending.get(name, False))

    # what the client says

    def receive(self, request: SotwRequest) -> int:
        """Take over the list of names; ACK and NACK are the caller's to pair.

        Returns:
            How many names were skipped, because the client would have more than it may.
        """
        names = dict.fromkeys(request.names)
        explicit = WILDCARD in names
        names.pop(WILDCARD, None)
        skipped = max(0, len(names) - self._names_limit)
        if skipped:
            kept_first = sorted(names, key=lambda name: name not in self._named)
            names = dict.fromkeys(kept_first[: self._names_limit])
        self._has_named = self._has_named or not request.names_nothing
        self._set_wildcard(explicit or not self._has_named)
        self._set_names(names)
        if not self._started:
            self._started = True
            self._spare(request.version_info)
        return skipped

    def acknowledge(self, now: float) -> None:
        """The client took the response in flight, and counts the seconds of its TTLs."""
        for name in self.in_flight or ():
            self.rejected.pop(name, None)
            self._doubted.pop(name, None)
            self._refreshes.drop(name)
            if name in self._ttls and name in self._shown:
                self._refreshes.arm(name, self._ttls[name], now)
        self.in_flight = None

    def reject(self, error: ErrorDetail) -> tuple[str, ...]:
        """The client rejected the response in flight; return the names that it held.

        Of a complete state the same is not sent again until it changes. Of other types each
        resource is sent again alone, so that the bad one is known and the others are in place.
        What was in the response runs out, if it has a TTL and isn't taken after all.
        """
        versions, self.in_flight = self.in_flight or {}, None
        names = tuple(versions)
        for name in names:
            self._refreshes.drop(name)
        if len(names) == 1 and self._wants(names[0]):
            self._doubted.pop(names[0], None)
            self.rejected[names[0]] = Rejection(versions[names[0]], error.message)
        elif len(names) > 1:
            for name in filter(self._wants, names):
                self._doubted[name] = Rejection(versions[name], error.message)
            if not self._whole:
                self._suspects |= dict.fromkeys(names)
        return names

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
        """Return what to send now, which is in flight from then on; None if there is nothing.

        To keep a resource with a TTL alive it is sent again. A heartbeat would leave out the rest
        of a complete state, and Envoy takes it for that, or doesn't count it.
        """
        if self.in_flight is not None:
            return None
        self._refresh_members()
        for name, _ in self._refreshes.due(now):
            self._pending[name] = True
        answer = self._take_whole() if self._whole else self._take_news()
        if answer is not None:
            answer.version_info = f"{self._sum:016x}"
            self.in_flight, self._ttls = answer.versions, answer.ttls
        return answer

    def take_removals(self) -> Answer | None:
        """Return None: here a removal is what an answer leaves out."""
        return None

    def _take_whole(self) -> Answer | None:
        if not self.has_news:
            return None
        asked = self._due or any(self._pending.values())
        self._pending, self._due = {}, False
        before = self._sum
        answer = self._state()
        if answer is None:
            return None
        self._show(answer.versions)
        return answer if asked or self._sum != before else None

    def _state(self) -> Answer | None:
        """Return all there is; None where it is not known, since what is left out is removed."""
        answer = Answer()
        for name in self.wanted():
            found, resource = self._look_up(name)
            if not found and name in self._shown:
                return None
            if resource is not None:
                answer.add(name, resource)
        return answer

    def _take_news(self) -> Answer | None:
        answer, due = Answer(), self._due
        self._due = False
        for name, asked in list(self._pending.items()):
            if answer.size >= self._limit:
                break
            del self._pending[name]
            suspect = name in self._suspects
            self._suspects.pop(name, None)
            # a suspect counts as shown, though the client has thrown it away with the others
            self._consider(answer, name, asked or suspect)
        while not answer.versions and self._suspects:
            name = next(iter(self._suspects))
            del self._suspects[name]
            self._consider(answer, name, asked=True)
        return answer if answer.versions or due else None

    def _consider(self, answer: Answer, name: str, asked: bool) -> None:
        found, resource = self._look_up(name)
        if not found:
            return
        if resource is None:
            self._mark(name, ABSENT)  # the protocol has no word for it
        elif asked or resource.version != self._shown.get(name, ABSENT):
            answer.add(name, resource)
            self._mark(name, resource.version)

    def _show(self, versions: dict[str, str]) -> None:
        for name in self._shown.keys() - versions.keys():
            self._mark(name, ABSENT)
            self.rejected.pop(name, None)
            self._doubted.pop(name, None)
        for name, version in versions.items():
            self._mark(name, version)

    def _mark(self, name: str, version: str) -> None:
        old = self._shown.pop(name, ABSENT)
        if old != ABSENT:
            self._sum ^= _digest(name, old)
        if version == ABSENT:
            self._refreshes.drop(name)
        else:
            self._shown[name] = version
            self._sum ^= _digest(name, version)

    def _spare(self, version_info: str) -> None:
        """Send a returning client nothing where it has the complete state.

        Of other types it may have forgotten a part, and does not say which; and so it may where
        it has a choice of names, since it drops what it leaves and keeps the version.
        """
        if not self._whole or not version_info or self._has_named:
            return
        self._refresh_members()
        state = self._state()
        if state is None:
            return
        self._show(state.versions)
        # of a TTL nobody knows how much is left
        if f"{self._sum:016x}" == version_info and not state.ttls:
            self._pending, self._due = {}, False

    def _set_wildcard(self, wanted: bool) -> None:
        if wanted == self._wildcard:
            return
        self._wildcard = self._wildcard_stale = self._due = wanted
        if not wanted:
            for name in self._members - self._named.keys():
                self._forget(name)
            self._members = set()

    def _set_names(self, names: dict[str, None]) -> None:
        before, self._named = self._named, names
        for name in before:
            if name in names:
                continue
            if name not in self._members:
                self._forget(name)
            if self._wildcard:
                # the client cannot know whether the wildcard has it too, so it must be told
                self._pending[name] = True
        for name in names:
            if name not in before:
                self.interest[name] = True
                self._pending[name] = True

    def _forget(self, name: str) -> None:
        self.interest[name] = False
        self._mark(name, ABSENT)
        for table in (self._pending, self.rejected, self._suspects, self._doubted):
            table.pop(name, None)

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


def _digest(name: str, version: str) -> int:
    return int.from_bytes(blake2b(f"{name}\0{version}".encode(), digest_size=8).digest())
