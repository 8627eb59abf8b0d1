"""The rules of state of the world (SotW) for one resource type on one stream.

The counterpart of `xds.protocol.delta`, with the same interface. The protocols differ:

- A request lists all names, not changes.
- A response of clusters, listeners or scoped routes is the full state: the client removes the
  resources that are not in it. A response of another type holds changed resources only, and cannot
  signal a removal.

So the versions in the `SubscriptionState` are here those that were sent last.

Invariant: `version_info` is a function of the names and versions that were sent to the client. So
it survives a restart, is the same on all replicas, and changes only with the client's resources.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview
"""

from hashlib import blake2b
from typing import Final

from scopeway.xds import type_urls
from scopeway.xds.encoding.messages import ErrorDetail, SotwRequest
from scopeway.xds.errors import ProtocolError
from scopeway.xds.protocol.status import ABSENT, Rejection
from scopeway.xds.protocol.subscription_state import WILDCARD, ResponseContent, SubscriptionState
from scopeway.xds.source import NodeView
from scopeway.xds.steps import STRIDE, Steps

FULL_STATE_TYPES: Final = frozenset({type_urls.CLUSTER, type_urls.LISTENER, type_urls.SCOPED_ROUTE})
"""Types whose responses are the full state of what the client wants."""
EMPTY_VERSION: Final = f"{0:016x}"
"""The `version_info` of an empty full state."""
FULL_STATE_LIMIT: Final = 16 << 20
"""The largest full state, in bytes. Unlike the responses of delta it cannot be split."""


class SotwSubscription:
    """A client's subscription to the resources of one type."""

    __slots__ = (
        "_has_sent_names",
        "_is_full_state",
        "_kept_version",
        "_limit",
        "_names_limit",
        "_reported_version",
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
        self._has_sent_names = False  # then an empty list means no names, before: the wildcard
        self._state_requested = False  # the client still waits for a full state
        self._reported_version = ""  # of the full state of a returning client, until one is known
        self._state_hash = 0  # of the names and versions that were sent, see `_set_version`
        self._resend_alone: dict[str, None] = {}  # rejected with others, to be sent alone
        self._kept_version = ""  # of the full state that the client keeps; "": it keeps none

    @property
    def kept(self) -> int:
        """The number of resources that the client keeps while the source is outdated.

        1 for a full state.
        """
        return 1 if self._kept_version else len(self.state.kept_names)

    @property
    def settled(self) -> bool:
        """Whether the client has acknowledged everything."""
        return (
            self.state.in_flight is None and not self._resend_alone and not self.state.has_pending
        )

    @property
    def acked(self) -> int:
        """The number of resources that were sent to the client and not rejected."""
        state = self.state
        return len(set(state.held_names()) - state.rejected.keys() - (state.in_flight or {}).keys())

    # requests

    def receive(self, request: SotwRequest, stale: bool) -> Steps[int]:
        """Apply the list of names of a request. The caller handles ACK and NACK.

        Args:
            request: The request.
            stale: Whether it has the nonce of an earlier response. Then its list does not count.
                But the client has dropped the resources that are not in it, and may subscribe to
                them again with its next request.

        Returns:
            How many names were skipped, because the client is subscribed to the maximum.
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
            if self._is_full_state:
                self._reported_version = request.version_info
            yield from self._skip_if_current(request.version_info)
            yield from self._keep_if_outdated(request.version_info)
        return skipped

    def caught_up(self) -> bool:
        """Note that the source is up to date again; return whether the client kept resources."""
        state = self.state
        state.pending |= dict.fromkeys(state.kept_names, True)
        return state.caught_up() or self._kept_version != ""

    def acknowledge(self, now: float) -> Steps[None]:
        """Handle the ACK of the response in flight. The client counts its TTLs from `now` on."""
        for count, name in enumerate(self.state.clear_in_flight(), 1):
            self.state.mark_acknowledged(name, now)
            if not count % STRIDE:
                yield

    def reject(self, error: ErrorDetail) -> Steps[tuple[str, ...]]:
        """Handle the NACK of the response in flight; return the names in the response.

        A full state is not sent again until it changes. Of other types each resource is sent again
        alone, so that the bad one is known and the others are applied. A resource of the response
        that has a TTL expires, unless the client accepts it later.
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
            state.response_due = True  # without the unsubscribed names the state differs
        return names

    # responses

    def next_response(self, now: float) -> Steps[ResponseContent | None]:
        """Return the next response, which is then in flight; None if there is nothing to send.

        Yields after each lookup, which may take milliseconds.

        To refresh a TTL, the resource is sent again. A heartbeat would leave out the rest of a full
        state, so Envoy would remove it, and for other types Envoy ignores heartbeats.
        """
        state = self.state
        if state.in_flight is not None:
            return None
        if self._kept_version:
            if state.is_outdated(WILDCARD):
                state.pending, state.response_due, state.wildcard_stale = {}, False, False
                state.backoff = None  # all is looked up when the source is up to date
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
        """Return None: a full state signals a removal by leaving out the resource."""
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
        reported, self._reported_version = self._reported_version, ""
        if not self._has_sent_names and self._is_current(reported, content):
            return None
        return content if requested or self._state_hash != before else None

    def _look_up_state(self) -> Steps[ResponseContent | None]:
        """Look up the full state; return None if a resource that the client has is not known.

        Otherwise the client would remove that resource. A returning client may have all of them.

        Raises:
            ProtocolError: the full state is too large.
        """
        content = ResponseContent()
        if self.state.wildcard and self.state.wildcard_unknown:
            return None
        self.state.drop_unwanted_lookups()
        may_lack = False
        for name in list(self.state.wanted()):
            succeeded, resource = yield from self.state.look_up(name)
            may_have = self._reported_version or self.state.version(name) != ABSENT
            if not succeeded and may_have:
                if not self.state.is_pending(name):
                    return None
                may_lack = True  # the lookups of the other names begin, too
            if resource is not None:
                content.add(name, resource)
            if content.size > FULL_STATE_LIMIT:
                raise ProtocolError(
                    f"the full state of {self.state.type_url} has more than {FULL_STATE_LIMIT} "
                    "bytes: subscribe to fewer resources, or use delta xDS",
                    status="RESOURCE_EXHAUSTED",
                )
            yield
            if self.state.interrupted:
                return None
        if may_lack or (not content.versions and self.state.is_waiting):
            return None  # the client would remove resources, or start without
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
            # its version counts as sent, although the client rejected it with the others
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
        succeeded, resource = yield from self.state.look_up(name, requested=requested)
        if not succeeded or self.state.keep_client_version(name, resource):
            return
        if resource is None:
            self._set_version(name, ABSENT)  # SotW cannot signal it
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
        """Send nothing to a returning client that has the current full state.

        This applies to the wildcard only. A client of other types, or with a list of names, may
        have dropped some resources although it reports the version.
        """
        if not self._is_full_state or not version_info or self._has_sent_names:
            return
        state = self.state
        state.update_wildcard()
        pending, state.pending = state.pending, {}
        known = yield from self._look_up_state()
        if known is None:
            state.pending = pending | state.pending
            return
        yield from self._set_versions(known.versions)
        if self._is_current(version_info, known):
            self._reported_version = ""
            state.response_due = False
        else:
            state.pending = pending | state.pending
            yield from self._set_versions({})

    def _is_current(self, version_info: str, content: ResponseContent) -> bool:
        # it is unknown how much of a TTL is left
        return f"{self._state_hash:016x}" == version_info and not content.ttls

    def _keep_if_outdated(self, version_info: str) -> Steps[None]:
        """If the source is outdated, let a returning client keep its resources.

        The client does not report the versions of single resources. So it keeps all resources that
        it names, or its whole full state.
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
        """Send the full state to a client that kept its own, unless it is the same."""
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
                # the client does not know whether the wildcard includes the name: send it again
                state.pending[name] = True
        for count, name in enumerate(names, 1):
            if name not in before:
                state.interest_changes[name] = True
                state.pending[name] = True
            if not count % STRIDE:
                yield

    def _forget(self, name: str) -> None:
        if self._is_full_state and name in self.state.suspected:
            self.state.response_due = True  # the rest of the rejected state may be good
        state_was_incomplete = self._is_full_state and self.state.lookup_failed(name)
        self._set_version(name, ABSENT)
        self.state.forget(name)
        self._resend_alone.pop(name, None)
        if state_was_incomplete:
            self.state.pending[name] = False  # the full state waited for this lookup


def _version_hash(name: str, version: str) -> int:
    return int.from_bytes(blake2b(f"{name}\0{version}".encode(), digest_size=8).digest())
