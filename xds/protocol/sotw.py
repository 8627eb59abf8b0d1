"""One resource type on one state-of-the-world stream: what requests mean, and what goes next.

The counterpart of `xds.protocol.delta`, with the same use. It differs where the protocol does: a
request lists all names anew; of clusters, listeners and scoped routes an answer is the complete
state (what it leaves out is gone); of other types it holds what is news, and no removal can be
told. So what the ledger calls held is here what was sent last.

Invariant: `version_info` is a function of the names and versions that the client has been shown,
so it survives a restart, agrees between replicas, and moves only with what this client sees.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview
"""

from hashlib import blake2b
from typing import Final

from scopeway.xds import type_urls as types
from scopeway.xds.encoding.messages import ErrorDetail, SotwRequest
from scopeway.xds.errors import ProtocolError
from scopeway.xds.protocol.status import ABSENT, Rejection
from scopeway.xds.protocol.subscription_state import WILDCARD, Answer, Ledger
from scopeway.xds.source import NodeView
from scopeway.xds.steps import STRIDE, Steps

WHOLE: Final = frozenset({types.CLUSTER, types.LISTENER, types.SCOPED_ROUTE})
"""Types whose answers are the complete state of what the client wants."""
NOTHING: Final = f"{0:016x}"
"""The `version_info` of an empty state."""
STATE_LIMIT: Final = 16 << 20
"""Bytes of a complete state; delta splits its answers, here none can be."""


class SotwSubscription:
    """A client's subscription to the resources of one type."""

    __slots__ = (
        "_asked",
        "_has_named",
        "_kept_version",
        "_limit",
        "_names_limit",
        "_started",
        "_sum",
        "_suspects",
        "_whole",
        "ledger",
    )

    def __init__(
        self,
        type_url: str,
        view: NodeView,
        *,
        limit: int,
        names_limit: int,
    ) -> None:
        self.ledger = Ledger(type_url, view)
        self._limit = limit
        self._names_limit = names_limit
        self._whole = type_url in WHOLE
        self._started = False
        self._has_named = False  # from then on an empty list means nothing, not everything
        self._asked = False  # for a complete state that was not known then
        self._sum = 0  # of what is held, see `_mark`
        self._suspects: dict[str, None] = {}  # rejected among others; to be sent alone
        self._kept_version = ""  # of a complete state that the client keeps; "": it keeps none

    @property
    def kept(self) -> int:
        """The number of resources that the client keeps, as the source is outdated."""
        return 1 if self._kept_version else len(self.ledger.foreign)

    @property
    def settled(self) -> bool:
        """Whether the client has answered all there was."""
        return self.ledger.in_flight is None and not self._suspects and not self.ledger.has_news

    @property
    def acked(self) -> int:
        """The number of resources that the client has been shown and not rejected."""
        ledger = self.ledger
        return len(set(ledger.held()) - ledger.rejected.keys() - (ledger.in_flight or {}).keys())

    # what the client says

    def receive(self, request: SotwRequest, stale: bool) -> Steps[int]:
        """Take over the list of names; ACK and NACK are the caller's to pair.

        Args:
            request: What the client says.
            stale: Whether it is of an earlier response. Then its list doesn't count; but what it
                leaves out the client has dropped, and may have taken anew by its next answer.

        Returns:
            How many names were skipped, because the client would have more than it may.
        """
        names = dict.fromkeys(request.names)
        if stale:
            dropped = (name for name in self.ledger.named if name not in names)
            self.ledger.pending |= dict.fromkeys(dropped, True)
            return 0
        explicit = WILDCARD in names
        names.pop(WILDCARD, None)
        skipped = max(0, len(names) - self._names_limit)
        if skipped:
            kept_first = sorted(names, key=lambda name: name not in self.ledger.named)
            names = dict.fromkeys(kept_first[: self._names_limit])
        self._has_named = self._has_named or not request.names_nothing
        yield
        yield from self._set_wildcard(explicit or not self._has_named)
        yield from self._set_names(names)
        if not self._started:
            self._started = True
            yield from self._spare(request.version_info)
            yield from self._keep(request.version_info)
        return skipped

    def caught_up(self) -> bool:
        """The source is outdated no longer; return whether the client has kept anything."""
        ledger = self.ledger
        ledger.pending |= dict.fromkeys(ledger.foreign, True)
        return ledger.caught_up() or self._kept_version != ""

    def acknowledge(self, now: float) -> Steps[None]:
        """The client took the response in flight, and counts the seconds of its TTLs."""
        for count, name in enumerate(self.ledger.landed(), 1):
            self.ledger.taken(name, now)
            if not count % STRIDE:
                yield

    def reject(self, error: ErrorDetail) -> Steps[tuple[str, ...]]:
        """The client rejected the response in flight; return the names that it held.

        Of a complete state the same is not sent again until it changes. Of other types each
        resource is sent again alone, so that the bad one is known and the others are in place.
        What was in the response runs out, if it has a TTL and isn't taken after all.
        """
        ledger, versions = self.ledger, self.ledger.landed()
        names = tuple(versions)
        for name in names:
            ledger.runs_out(name)
        if len(names) == 1 and ledger.wants(names[0]):
            ledger.doubted.pop(names[0], None)
            ledger.rejected[names[0]] = Rejection(versions[names[0]], error.message)
        elif len(names) > 1:
            for count, name in enumerate(filter(ledger.wants, names), 1):
                ledger.doubted[name] = Rejection(versions[name], error.message)
                if not count % STRIDE:
                    yield
            if not self._whole:
                self._suspects |= dict.fromkeys(names)
        if self._whole and not all(map(ledger.wants, names)):
            ledger.due = True  # without what the client has left since it is another state
        return names

    # what is to be sent

    def take(self, now: float) -> Steps[Answer | None]:
        """Return what to send now, which is in flight from then on; None if there is nothing.

        Yields after each lookup, which may compile a resource: milliseconds.

        To keep a resource with a TTL alive it is sent again. A heartbeat would leave out the rest
        of a complete state, and Envoy takes it for that, or doesn't count it.
        """
        ledger = self.ledger
        if ledger.in_flight is not None:
            return None
        if self._kept_version:
            if ledger.is_outdated(WILDCARD):
                ledger.pending, ledger.due, ledger.members_stale = {}, False, False
                ledger.retries = None  # all is looked up when the source has caught up
                return None
            yield from self._go_on()
        for name, _ in ledger.refreshes_due(now):
            ledger.pending[name] = True
        ledger.try_again(now)
        if self.settled:
            return None
        ledger.look_at_members()
        answer = yield from (self._take_whole() if self._whole else self._take_news())
        if answer is not None:
            answer.version_info = f"{self._sum:016x}"
            ledger.sent(answer)
        return answer

    def take_removals(self) -> Answer | None:
        """Return None: here a removal is what an answer leaves out."""
        return None

    def _take_whole(self) -> Steps[Answer | None]:
        ledger = self.ledger
        asked = self._asked or ledger.due or any(ledger.pending.values())
        ledger.pending, ledger.due = {}, False
        before = self._sum
        answer = yield from self._state()
        self._asked = asked and answer is None
        if answer is None:
            ledger.due = ledger.due or ledger.interrupted
            return None
        answer.repeated = frozenset(
            name for name, version in answer.versions.items() if self._has_taken(name, version)
        )
        yield
        yield from self._show(answer.versions)
        return answer if asked or self._sum != before else None

    def _state(self) -> Steps[Answer | None]:
        """Return all there is; None where it is not known, since what is left out is removed.

        Raises:
            ProtocolError: it is too large.
        """
        answer = Answer()
        for name in list(self.ledger.wanted()):
            found, resource = yield from self.ledger.look_up(name)
            if not found and self.ledger.version(name) != ABSENT:
                return None
            if resource is not None:
                answer.add(name, resource)
            if answer.size > STATE_LIMIT:
                raise ProtocolError(
                    f"the complete state of {self.ledger.type_url} has more than {STATE_LIMIT} "
                    "bytes: ask for fewer resources, or use delta xDS",
                    status="RESOURCE_EXHAUSTED",
                )
            yield
            if self.ledger.interrupted:
                return None
        return answer

    def _has_taken(self, name: str, version: str) -> bool:
        ledger = self.ledger
        refused = name in ledger.rejected or name in ledger.doubted
        return ledger.version(name) == version and not refused

    def _take_news(self) -> Steps[Answer | None]:
        ledger, answer = self.ledger, Answer()
        due, ledger.due = ledger.due, False
        for name, asked in list(ledger.pending.items()):
            if answer.size >= self._limit or ledger.interrupted:
                break
            del ledger.pending[name]
            suspect = name in self._suspects
            self._suspects.pop(name, None)
            # a suspect counts as shown, though the client has thrown it away with the others
            yield from self._consider(answer, name, asked or suspect)
            yield
        while not (answer.versions or ledger.interrupted) and self._suspects:
            name = next(iter(self._suspects))
            del self._suspects[name]
            yield from self._consider(answer, name, asked=True)
            yield
        if ledger.interrupted and not answer.versions:
            ledger.due = due
            return None
        return answer if answer.versions or due else None

    def _consider(self, answer: Answer, name: str, asked: bool) -> Steps[None]:
        asked = asked or self.ledger.was_asked(name)
        found, resource = yield from self.ledger.look_up(name, asked=asked)
        if not found or self.ledger.keep(name, resource):
            return
        if resource is None:
            self._mark(name, ABSENT)  # the protocol has no word for it
        elif asked or resource.version != self.ledger.version(name):
            answer.add(name, resource)
            self._mark(name, resource.version)

    def _show(self, versions: dict[str, str]) -> Steps[None]:
        for count, name in enumerate(set(self.ledger.held()) - versions.keys(), 1):
            self._mark(name, ABSENT)
            self.ledger.rejected.pop(name, None)
            self.ledger.doubted.pop(name, None)
            if not count % STRIDE:
                yield
        for count, (name, version) in enumerate(versions.items(), 1):
            self._mark(name, version)
            if not count % STRIDE:
                yield

    def _mark(self, name: str, version: str) -> None:
        ledger = self.ledger
        old = ledger.version(name)
        ledger.hold(name, version)
        if old != ABSENT:
            self._sum ^= _digest(name, old)
        if version == ABSENT:
            ledger.runs_out(name)
        else:
            self._sum ^= _digest(name, version)

    def _spare(self, version_info: str) -> Steps[None]:
        """Send a returning client nothing where it has the complete state.

        Of other types it may have forgotten a part, and does not say which; and so it may where
        it has a choice of names, since it drops what it leaves and keeps the version.
        """
        if not self._whole or not version_info or self._has_named:
            return
        ledger = self.ledger
        ledger.look_at_members()
        owed, ledger.pending = ledger.pending, {}
        state = yield from self._state()
        if state is None:
            ledger.pending = owed | ledger.pending
            return
        yield from self._show(state.versions)
        # of a TTL nobody knows how much is left
        if f"{self._sum:016x}" == version_info and not state.ttls:
            ledger.due = False
        else:
            ledger.pending = owed | ledger.pending
            yield from self._show({})

    def _keep(self, version_info: str) -> Steps[None]:
        """Leave a returning client what it has, where another server may know more.

        What it has is not told. So it keeps all that it names, and of a complete state all of it:
        what an answer leaves out is gone.
        """
        ledger = self.ledger
        is_known = not ledger.has_news and not ledger.failures
        if not version_info or is_known or not ledger.is_outdated(WILDCARD):
            return
        if self._whole:
            self._kept_version = version_info
            ledger.newly_kept += 1
            return
        ledger.additions_withheld = True
        yield from ledger.report(ledger.named)

    def _go_on(self) -> Steps[None]:
        """Bring a client up to date that has kept its complete state."""
        version, self._kept_version = self._kept_version, ""
        self.ledger.members_stale = self.ledger.wildcard
        self.ledger.due = True
        yield from self._spare(version)

    def _set_wildcard(self, wanted: bool) -> Steps[None]:
        ledger = self.ledger
        if wanted == ledger.wildcard:
            return
        ledger.wildcard = ledger.members_stale = ledger.due = wanted
        if not wanted:
            left = ledger.members - ledger.named.keys()
            ledger.members = frozenset()
            for count, name in enumerate(left, 1):
                self._forget(name)
                if not count % STRIDE:
                    yield

    def _set_names(self, names: dict[str, None]) -> Steps[None]:
        ledger = self.ledger
        before = ledger.named
        yield from ledger.set_names(names)
        for count, name in enumerate(before, 1):
            if not count % STRIDE:
                yield
            if name in names:
                continue
            if name not in ledger.members:
                self._forget(name)
            if ledger.wildcard:
                # the client cannot know whether the wildcard has it too, so it must be told
                ledger.pending[name] = True
        for count, name in enumerate(names, 1):
            if name not in before:
                ledger.interest[name] = True
                ledger.pending[name] = True
            if not count % STRIDE:
                yield

    def _forget(self, name: str) -> None:
        if self._whole and name in self.ledger.doubted:
            self.ledger.due = True  # what was rejected with it is good, maybe
        held_back = self._whole and self.ledger.is_unknown(name)
        self._mark(name, ABSENT)
        self.ledger.forget(name)
        self._suspects.pop(name, None)
        if held_back:
            self.ledger.pending[name] = False  # the state that waited for it may be known now


def _digest(name: str, version: str) -> int:
    return int.from_bytes(blake2b(f"{name}\0{version}".encode(), digest_size=8).digest())
