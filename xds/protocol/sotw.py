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
from scopeway.xds.protocol.subscription_state import WILDCARD, ResponseContent, SubscriptionState
from scopeway.xds.source import NodeView
from scopeway.xds.steps import STRIDE, Steps

FULL_STATE_TYPES: Final = frozenset({types.CLUSTER, types.LISTENER, types.SCOPED_ROUTE})
"""Types whose answers are the complete state of what the client wants."""
EMPTY_VERSION: Final = f"{0:016x}"
"""The `version_info` of an empty state."""
FULL_STATE_LIMIT: Final = 16 << 20
"""Bytes of a complete state; delta splits its answers, here none can be."""


class SotwSubscription:
    """A client's subscription to the resources of one type."""

    __slots__ = (
        "_has_sent_names",
        "_is_full_state",
        "_kept_version",
        "_limit",
        "_names_limit",
        "_resend_alone",
        "_started",
        "_state_hash",
        "_state_requested",
        "state",
    )

    def __init__(
        self,
        type_url: str,
        view: NodeView,
        *,
        limit: int,
        names_limit: int,
    ) -> None:
        self.state = SubscriptionState(type_url, view)
        self._limit = limit
        self._names_limit = names_limit
        self._is_full_state = type_url in FULL_STATE_TYPES
        self._started = False
        self._has_sent_names = False  # from then on an empty list means nothing, not everything
        self._state_requested = False  # for a complete state that was not known then
        self._state_hash = 0  # of what is held, see `_set_version`
        self._resend_alone: dict[str, None] = {}  # rejected among others; to be sent alone
        self._kept_version = ""  # of a complete state that the client keeps; "": it keeps none

    @property
    def kept(self) -> int:
        """The number of resources that the client keeps, as the source is outdated."""
        return 1 if self._kept_version else len(self.state.kept_names)

    @property
    def settled(self) -> bool:
        """Whether the client has answered all there was."""
        return (
            self.state.in_flight is None and not self._resend_alone and not self.state.has_pending
        )

    @property
    def acked(self) -> int:
        """The number of resources that the client has been shown and not rejected."""
        state = self.state
        return len(set(state.held_names()) - state.rejected.keys() - (state.in_flight or {}).keys())

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
            dropped = (name for name in self.state.named if name not in names)
            self.state.pending |= dict.fromkeys(dropped, True)
            return 0
        explicit = WILDCARD in names
        names.pop(WILDCARD, None)
        skipped = max(0, len(names) - self._names_limit)
        if skipped:
            kept_first = sorted(names, key=lambda name: name not in self.state.named)
            names = dict.fromkeys(kept_first[: self._names_limit])
        self._has_sent_names = self._has_sent_names or not request.names_empty
        yield
        yield from self._set_wildcard(explicit or not self._has_sent_names)
        yield from self._set_names(names)
        if not self._started:
            self._started = True
            yield from self._skip_if_current(request.version_info)
            yield from self._keep_if_outdated(request.version_info)
        return skipped

    def caught_up(self) -> bool:
        """The source is outdated no longer; return whether the client has kept anything."""
        state = self.state
        state.pending |= dict.fromkeys(state.kept_names, True)
        return state.caught_up() or self._kept_version != ""

    def acknowledge(self, now: float) -> Steps[None]:
        """The client took the response in flight, and counts the seconds of its TTLs."""
        for count, name in enumerate(self.state.clear_in_flight(), 1):
            self.state.mark_acknowledged(name, now)
            if not count % STRIDE:
                yield

    def reject(self, error: ErrorDetail) -> Steps[tuple[str, ...]]:
        """The client rejected the response in flight; return the names that it held.

        Of a complete state the same is not sent again until it changes. Of other types each
        resource is sent again alone, so that the bad one is known and the others are in place.
        What was in the response runs out, if it has a TTL and isn't taken after all.
        """
        state, versions = self.state, self.state.clear_in_flight()
        names = tuple(versions)
        for name in names:
            state.cancel_refresh(name)
        if len(names) == 1 and state.wants(names[0]):
            state.suspected.pop(names[0], None)
            state.rejected[names[0]] = Rejection(versions[names[0]], error.message)
        elif len(names) > 1:
            for count, name in enumerate(filter(state.wants, names), 1):
                state.suspected[name] = Rejection(versions[name], error.message)
                if not count % STRIDE:
                    yield
            if not self._is_full_state:
                self._resend_alone |= dict.fromkeys(names)
        if self._is_full_state and not all(map(state.wants, names)):
            state.response_due = True  # without what the client has left since it is another state
        return names

    # what is to be sent

    def next_response(self, now: float) -> Steps[ResponseContent | None]:
        """Return what to send now, which is in flight from then on; None if there is nothing.

        Yields after each lookup, which may compile a resource: milliseconds.

        To keep a resource with a TTL alive it is sent again. A heartbeat would leave out the rest
        of a complete state, and Envoy takes it for that, or doesn't count it.
        """
        state = self.state
        if state.in_flight is not None:
            return None
        if self._kept_version:
            if state.is_outdated(WILDCARD):
                state.pending, state.response_due, state.wildcard_stale = {}, False, False
                state.backoff = None  # all is looked up when the source has caught up
                return None
            yield from self._stop_keeping()
        for name, _ in state.refreshes_due(now):
            state.pending[name] = True
        state.queue_retries(now)
        if self.settled:
            return None
        state.update_wildcard()
        content = yield from (
            self._full_state_content() if self._is_full_state else self._changed_content()
        )
        if content is not None:
            content.version_info = f"{self._state_hash:016x}"
            state.mark_sent(content)
        return content

    def next_removals(self) -> ResponseContent | None:
        """Return None: here a removal is what an answer leaves out."""
        return None

    def _full_state_content(self) -> Steps[ResponseContent | None]:
        state = self.state
        requested = self._state_requested or state.response_due or any(state.pending.values())
        state.pending, state.response_due = {}, False
        before = self._state_hash
        content = yield from self._look_up_state()
        self._state_requested = requested and content is None
        if content is None:
            state.response_due = state.response_due or state.interrupted
            return None
        content.unchanged = frozenset(
            name for name, version in content.versions.items() if self._has_accepted(name, version)
        )
        yield
        yield from self._set_versions(content.versions)
        return content if requested or self._state_hash != before else None

    def _look_up_state(self) -> Steps[ResponseContent | None]:
        """Return all there is; None where it is not known, since what is left out is removed.

        Raises:
            ProtocolError: it is too large.
        """
        content = ResponseContent()
        for name in list(self.state.wanted()):
            found, resource = yield from self.state.look_up(name)
            if not found and self.state.version(name) != ABSENT:
                return None
            if resource is not None:
                content.add(name, resource)
            if content.size > FULL_STATE_LIMIT:
                raise ProtocolError(
                    f"the complete state of {self.state.type_url} has more than {FULL_STATE_LIMIT} "
                    "bytes: ask for fewer resources, or use delta xDS",
                    status="RESOURCE_EXHAUSTED",
                )
            yield
            if self.state.interrupted:
                return None
        return content

    def _has_accepted(self, name: str, version: str) -> bool:
        state = self.state
        refused = name in state.rejected or name in state.suspected
        return state.version(name) == version and not refused

    def _changed_content(self) -> Steps[ResponseContent | None]:
        state, content = self.state, ResponseContent()
        response_due, state.response_due = state.response_due, False
        for name, requested in list(state.pending.items()):
            if content.size >= self._limit or state.interrupted:
                break
            del state.pending[name]
            suspect = name in self._resend_alone
            self._resend_alone.pop(name, None)
            # a suspect counts as shown, though the client has thrown it away with the others
            yield from self._add_if_changed(content, name, requested or suspect)
            yield
        while not (content.versions or state.interrupted) and self._resend_alone:
            name = next(iter(self._resend_alone))
            del self._resend_alone[name]
            yield from self._add_if_changed(content, name, requested=True)
            yield
        if state.interrupted and not content.versions:
            state.response_due = response_due
            return None
        return content if content.versions or response_due else None

    def _add_if_changed(self, content: ResponseContent, name: str, requested: bool) -> Steps[None]:
        requested = requested or self.state.was_requested(name)
        found, resource = yield from self.state.look_up(name, requested=requested)
        if not found or self.state.keep_client_version(name, resource):
            return
        if resource is None:
            self._set_version(name, ABSENT)  # the protocol has no word for it
        elif requested or resource.version != self.state.version(name):
            content.add(name, resource)
            self._set_version(name, resource.version)

    def _set_versions(self, versions: dict[str, str]) -> Steps[None]:
        for count, name in enumerate(set(self.state.held_names()) - versions.keys(), 1):
            self._set_version(name, ABSENT)
            self.state.rejected.pop(name, None)
            self.state.suspected.pop(name, None)
            if not count % STRIDE:
                yield
        for count, (name, version) in enumerate(versions.items(), 1):
            self._set_version(name, version)
            if not count % STRIDE:
                yield

    def _set_version(self, name: str, version: str) -> None:
        state = self.state
        old = state.version(name)
        state.set_version(name, version)
        if old != ABSENT:
            self._state_hash ^= _version_hash(name, old)
        if version == ABSENT:
            state.cancel_refresh(name)
        else:
            self._state_hash ^= _version_hash(name, version)

    def _skip_if_current(self, version_info: str) -> Steps[None]:
        """Send a returning client nothing where it has the complete state.

        Of other types it may have forgotten a part, and does not say which; and so it may where
        it has a choice of names, since it drops what it leaves and keeps the version.
        """
        if not self._is_full_state or not version_info or self._has_sent_names:
            return
        state = self.state
        state.update_wildcard()
        owed, state.pending = state.pending, {}
        known = yield from self._look_up_state()
        if known is None:
            state.pending = owed | state.pending
            return
        yield from self._set_versions(known.versions)
        # of a TTL nobody knows how much is left
        if f"{self._state_hash:016x}" == version_info and not known.ttls:
            state.response_due = False
        else:
            state.pending = owed | state.pending
            yield from self._set_versions({})

    def _keep_if_outdated(self, version_info: str) -> Steps[None]:
        """Leave a returning client what it has, where another server may know more.

        What it has is not told. So it keeps all that it names, and of a complete state all of it:
        what an answer leaves out is gone.
        """
        state = self.state
        is_known = not state.has_pending and not state.failures
        if not version_info or is_known or not state.is_outdated(WILDCARD):
            return
        if self._is_full_state:
            self._kept_version = version_info
            state.newly_kept += 1
            return
        state.wildcard_frozen = True
        yield from state.record_reported(state.named)

    def _stop_keeping(self) -> Steps[None]:
        """Bring a client up to date that has kept its complete state."""
        version, self._kept_version = self._kept_version, ""
        self.state.wildcard_stale = self.state.wildcard
        self.state.response_due = True
        yield from self._skip_if_current(version)

    def _set_wildcard(self, wanted: bool) -> Steps[None]:
        state = self.state
        if wanted == state.wildcard:
            return
        state.wildcard = state.wildcard_stale = state.response_due = wanted
        if not wanted:
            left = state.wildcard_names - state.named.keys()
            state.wildcard_names = frozenset()
            for count, name in enumerate(left, 1):
                self._forget(name)
                if not count % STRIDE:
                    yield

    def _set_names(self, names: dict[str, None]) -> Steps[None]:
        state = self.state
        before = state.named
        yield from state.set_names(names)
        for count, name in enumerate(before, 1):
            if not count % STRIDE:
                yield
            if name in names:
                continue
            if name not in state.wildcard_names:
                self._forget(name)
            if state.wildcard:
                # the client cannot know whether the wildcard has it too, so it must be told
                state.pending[name] = True
        for count, name in enumerate(names, 1):
            if name not in before:
                state.interest_changes[name] = True
                state.pending[name] = True
            if not count % STRIDE:
                yield

    def _forget(self, name: str) -> None:
        if self._is_full_state and name in self.state.suspected:
            self.state.response_due = True  # what was rejected with it is good, maybe
        held_back = self._is_full_state and self.state.lookup_failed(name)
        self._set_version(name, ABSENT)
        self.state.forget(name)
        self._resend_alone.pop(name, None)
        if held_back:
            self.state.pending[name] = False  # the state that waited for it may be known now


def _version_hash(name: str, version: str) -> int:
    return int.from_bytes(blake2b(f"{name}\0{version}".encode(), digest_size=8).digest())
