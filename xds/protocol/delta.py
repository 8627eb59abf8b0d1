"""The rules of delta xDS for one resource type on one stream: requests, ACKs, NACKs, responses.

Writes the results into a `SubscriptionState`. Does not know the other types of the stream, nonces
or bytes.

A version is the version of a resource, or ABSENT if there is none. A name must be sent if its
current version differs from the client's, or if the client requested it (`pending[name]` is True).

Invariant: while a response is in flight (`in_flight`), no other one is made. Changes collect in
`pending`, once for each name, and are looked up only when the next response is made.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
"""

from collections.abc import Iterable, Iterator, Mapping

from scopeway.xds.encoding.messages import DeltaRequest, ErrorDetail, heartbeat
from scopeway.xds.protocol.status import ABSENT, Rejection
from scopeway.xds.protocol.subscription_state import WILDCARD, ResponseContent, SubscriptionState
from scopeway.xds.resource import Resource
from scopeway.xds.source import KnowsVersions, NodeView
from scopeway.xds.steps import STRIDE, Steps


class DeltaSubscription:
    """A client's subscription to the resources of one type."""

    __slots__ = (
        "_bisect_groups",
        "_bisect_next",
        "_delayed_removals",
        "_heartbeat_names",
        "_limit",
        "_names_limit",
        "_started",
        "_versions",
        "state",
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
        self.state = SubscriptionState(type_url, view)
        self._versions = view if isinstance(view, KnowsVersions) else None
        self._limit = limit  # in bytes, of one response
        self._names_limit = names_limit
        self._started = False
        # like `pending`: removals to send when all else is acknowledged; None: do not delay them
        self._delayed_removals: dict[str, bool] | None = {} if removals_last else None
        self._bisect_groups: dict[tuple[str, ...], None] = {}  # rejected; to be sent again apart
        self._bisect_next = False  # they alternate with `pending`
        self._heartbeat_names: tuple[str, ...] = ()  # in flight

    @property
    def settled(self) -> bool:
        """Whether the client has acknowledged everything, apart from delayed removals."""
        return (
            self.state.in_flight is None and not self._bisect_groups and not self.state.has_pending
        )

    @property
    def acked(self) -> int:
        """The number of resources that the client has, as far as is known."""
        return sum(1 for _ in self.state.held_names())

    # requests

    def receive(self, request: DeltaRequest, stale: bool) -> Steps[int]:
        """Apply the subscription changes of a request. The caller handles ACK and NACK.

        Args:
            request: The request.
            stale: Whether it has the nonce of an earlier response. Its changes count all the same.

        Returns:
            How many names were skipped, because the client is subscribed to the maximum.
        """
        skipped = 0
        versions: Mapping[str, str] = {} if self._started else request.initial_versions
        if len(versions) > self._names_limit:  # no client has so many resources
            versions = {}
        legacy_wildcard = not self._started and request.names_empty
        first, self._started = not self._started, True
        for count, name in enumerate(request.unsubscribe, 1):
            if name == WILDCARD:
                yield from self._unsubscribe_wildcard()
            else:
                self._unsubscribe(name)
            if not count % STRIDE:
                yield
        if legacy_wildcard or WILDCARD in request.subscribe:
            yield from self._subscribe_wildcard(versions)
            self.state.wildcard_frozen = False  # a new subscription gets all names
        for count, name in enumerate(request.subscribe, 1):
            if not count % STRIDE:
                yield
            if name == WILDCARD:
                continue
            named = self.state.named
            if len(named) >= self._names_limit and name not in named:
                skipped += 1
            else:
                self._subscribe(name, versions)
        if first:
            yield from self.state.record_reported(versions)
            self.state.freeze_wildcard()
        return skipped

    def _subscribe(self, name: str, versions: Mapping[str, str]) -> None:
        state = self.state
        state.add_name(name)
        state.interest_changes[name] = True
        if state.lookups is not None:
            state.lookups.drop_answer(name)
        # the client may have dropped the resource: skip it only if the client lists its version
        state.pending[name] = name not in versions
        if name in versions:
            state.set_version(name, versions[name])
        elif state.kept_names:
            state.kept_names.pop(name, None)

    def _unsubscribe(self, name: str) -> None:
        state = self.state
        if name not in state.named:
            return
        state.drop_name(name)
        if state.wildcard:
            # the client does not know whether the wildcard includes the name, so send it again
            state.pending[name] = True
            state.interest_changes[name] = name in state.wildcard_names
        else:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self.state.forget(name)
        if self._delayed_removals:
            self._delayed_removals.pop(name, None)

    def _subscribe_wildcard(self, versions: Mapping[str, str]) -> Steps[None]:
        state = self.state
        for name in state.wildcard_names:  # subscribed again: the client may have dropped them
            state.pending[name] = True
            state.kept_names.pop(name, None)
        for count, (name, version) in enumerate(versions.items(), 1):
            state.set_version(name, version)
            state.pending.setdefault(name, False)
            if not count % STRIDE:
                yield
        state.wildcard = state.wildcard_stale = True
        # a new client waits for the first response, even an empty one; a returning one had it
        state.response_due = not versions

    def _unsubscribe_wildcard(self) -> Steps[None]:
        # the client drops all resources that it did not name itself, and expects no removals
        state = self.state
        state.wildcard = state.wildcard_stale = state.response_due = False
        state.wildcard_frozen = False
        left = {*state.wildcard_names, *state.held_names(), *state.pending} - state.named.keys()
        state.wildcard_names = frozenset()
        for count, name in enumerate(left, 1):
            self._forget(name)
            if not count % STRIDE:
                yield

    @property
    def kept(self) -> int:
        """The number of resources that the client keeps, as the source is outdated."""
        return len(self.state.kept_names)

    def caught_up(self) -> bool:
        """Note that the source is up to date again; return whether the client kept resources."""
        return self.state.caught_up()

    def acknowledge(self, now: float) -> Steps[None]:
        """Handle the ACK of the response in flight. The client counts its TTLs from `now` on."""
        state = self.state
        for count, (name, version) in enumerate(state.clear_in_flight().items(), 1):
            if not count % STRIDE:
                yield
            if version == ABSENT or not self._may_have(name):
                state.set_version(name, ABSENT)
            else:
                state.set_version(name, version)
                if not state.wants(name):  # the wildcard was unsubscribed and subscribed meanwhile
                    state.pending.setdefault(name, False)
            state.mark_acknowledged(name, now)

    def reject(self, error: ErrorDetail) -> Steps[tuple[str, ...]]:
        """Handle the NACK of the response in flight; return the names in the response.

        A client may have applied some of several resources, and does not say which. So they are
        sent again in halves, until every bad resource has been rejected alone. Then its version is
        known, and the other resources are applied. If the client rejects a heartbeat, it is sent
        the resource.
        """
        state, versions = self.state, self.state.clear_in_flight()
        for name in filter(self._may_have, self._heartbeat_names):
            state.cancel_refresh(name)
            state.set_version(name, ABSENT)  # it has dropped the resource
            state.kept_names.pop(name, None)
            state.pending.setdefault(name, False)
        names = tuple(versions)
        if len(names) > 1:
            middle = len(names) // 2
            self._bisect_groups |= {names[:middle]: None, names[middle:]: None}
            for count, name in enumerate(filter(self._may_have, names), 1):
                state.suspected[name] = Rejection(versions[name], error.message)
                if not count % STRIDE:
                    yield
        for name in names if len(names) == 1 else ():
            state.suspected.pop(name, None)
            # it may have been requested, and sent alone, before its group was sent
            if any(name in group for group in self._bisect_groups):
                self._bisect_groups = dict.fromkeys(_remove_from_groups(name, self._bisect_groups))
            if self._may_have(name):
                state.rejected[name] = Rejection(versions[name], error.message)
        return names or self._heartbeat_names

    # responses

    def next_response(self, now: float) -> Steps[ResponseContent | None]:
        """Return the next response, which is then in flight; None if there is nothing to send.

        Yields after each lookup, which may take milliseconds.
        """
        if self.state.in_flight is not None:
            return None
        self.state.update_wildcard()
        self.state.queue_retries(now)
        # heartbeats go first and alone, as lookups may take long; but not twice in a row while
        # other resources wait
        content = None
        if not (self._heartbeat_names and self.state.has_pending):
            content = self._heartbeat_content(now)
        if content is None and self._bisect_next:
            content = yield from self._bisect_content()
        content = content or (yield from self._pending_content())
        if content is None and not self.state.interrupted:
            content = yield from self._bisect_content()
        return content or self._heartbeat_content(now)

    def next_removals(self) -> ResponseContent | None:
        """Return the delayed removals, which are then in flight; None if there are none."""
        if self.state.in_flight is not None or not self._delayed_removals:
            return None
        content = ResponseContent()
        for name in self._delayed_removals:
            content.add(name, None)
        self._delayed_removals = {}
        self._mark_sent(content)
        return content

    def _mark_sent(self, content: ResponseContent, heartbeat_names: tuple[str, ...] = ()) -> None:
        self.state.mark_sent(content)
        self._heartbeat_names = heartbeat_names

    def _heartbeat_content(self, now: float) -> ResponseContent | None:
        state = self.state
        if state.next_deadline is None:  # the usual case
            return None
        content = ResponseContent()
        for name, ttl in state.refreshes_due(now):
            beat = heartbeat(state.type_url, name, state.version(name), ttl)
            content.resources.append(beat)
            content.size += len(beat.framed)
            if content.size >= self._limit:
                break
        if not content.resources:
            return None
        self._mark_sent(content, tuple(beat.name for beat in content.resources))
        return content

    def _pending_content(self) -> Steps[ResponseContent | None]:
        state = self.state
        if not state.has_pending:
            return None
        content = ResponseContent()
        for name, requested in list(state.pending.items()):
            if content.size >= self._limit or state.interrupted:
                break
            del state.pending[name]
            yield from self._process_pending(content, name, requested)
            yield
        if not state.pending:
            state.pending = {}  # an emptied dict keeps its memory, 1.5 kB for 50 names
        if not content.versions and (state.interrupted or not state.take_response_due()):
            return None
        state.response_due = False
        self._bisect_next = True
        self._mark_sent(content)
        return content

    def _process_pending(self, content: ResponseContent, name: str, requested: bool) -> Steps[None]:
        """Look up a pending name; add it to the response, delay its removal, or skip it."""
        state = self.state
        requested = requested or state.was_requested(name)
        if self._delayed_removals:
            requested = self._delayed_removals.pop(name, False) or requested
        if not requested and self._has_current_version(name):
            state.refresh_rejection(name, state.version(name))
            state.lookup_succeeded(name)
            if state.kept_names:
                state.kept_names.pop(name, None)
            return
        succeeded, resource = yield from state.look_up(name, requested=requested)
        if not succeeded:
            return
        if state.keep_client_version(name, resource):
            if resource is not None and resource.ttl is not None:
                state.refresh_kept_ttl(name, resource.ttl)
            return
        if state.defer(name, resource):
            return
        version = resource.version if resource else ABSENT
        state.refresh_rejection(name, version)
        rejection = state.rejected.get(name)
        if not requested and (
            (rejection is not None and rejection.version == version)
            or (version == state.version(name) and not self._lacks_refresh(name, resource))
        ):
            return
        holds = state.version(name) != ABSENT
        if resource is None and holds and self._delayed_removals is not None:
            self._delayed_removals[name] = requested
        elif rejection is not None:
            self._bisect_groups[(name,)] = None
        else:
            content.add(name, resource)

    def _has_current_version(self, name: str) -> bool:
        state, version = self.state, self.state.version(name)
        return (
            version != ABSENT
            and self._versions is not None
            and state.wants(name)
            and self._versions.is_current(state.type_url, name, version)
        )

    def _lacks_refresh(self, name: str, resource: Resource | None) -> bool:
        # a returning client counts the TTL already, and does not say since when
        has_ttl = resource is not None and resource.ttl is not None
        return has_ttl and not self.state.has_refresh(name)

    def _bisect_content(self) -> Steps[ResponseContent | None]:
        while self._bisect_groups:
            group = next(iter(self._bisect_groups))
            del self._bisect_groups[group]
            content = ResponseContent()
            for name in group:
                if self._may_have(name):
                    succeeded, resource = yield from self.state.look_up(name, requested=True)
                    self.state.pending.pop(name, None)
                    if succeeded:
                        content.add(name, resource)
                    yield
                    if self.state.interrupted:
                        self._bisect_groups[group] = None
                        return None
            if content.versions:
                self._bisect_next = False
                self._mark_sent(content)
                return content
        return None

    def _may_have(self, name: str) -> bool:
        return self.state.wildcard or name in self.state.named


def _remove_from_groups(name: str, groups: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for group in groups:
        rest = tuple(each for each in group if each != name)
        if rest:
            yield rest
