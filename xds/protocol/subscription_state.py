"""The state of one resource type on one stream: what the client wants, has and still must be sent.

Delta and state of the world share this state. The rules in `xds.protocol.delta` and
`xds.protocol.sotw` decide when it changes, and write to it. This module does not decide what is
sent when.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from scopeway.xds.arguments import check_names, close_unawaited
from scopeway.xds.encoding.messages import WILDCARD as WILDCARD
from scopeway.xds.events import LookupFailed, SourceBlocked
from scopeway.xds.protocol.backoff import LookupBackoff
from scopeway.xds.protocol.lookups import Lookup, Lookups, checked
from scopeway.xds.protocol.status import ABSENT, Rejection, ResourceState, Status
from scopeway.xds.protocol.ttl import TtlRefreshes, TtlStrippingView
from scopeway.xds.resource import Resource
from scopeway.xds.source import PENDING, Found, MakesInSteps, MayBeOutdated, NodeView
from scopeway.xds.steps import STRIDE, Steps

_NO_TTLS: Final[Mapping[str, float]] = {}
_NO_NAMES: Final[frozenset[str]] = frozenset()
"""Shared by all types and streams: an empty frozenset of their own would take 216 bytes."""
BLOCKED_SECONDS: Final = 0.1
"""A call of the source that takes longer is reported (`SourceBlocked`)."""


@dataclass(slots=True)
class ResponseContent:
    """The content of one response."""

    resources: list[Resource] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    """The version of every name in it. ABSENT for removed names; heartbeats are left out."""
    ttls: dict[str, float] = field(default_factory=dict)
    """The TTLs of the resources that have one, in seconds."""
    unchanged: frozenset[str] = frozenset()
    """Names that the client has at this version. They only complete a full state."""
    size: int = 0
    """In bytes, about."""
    version_info: str = ""
    """Of state of the world; delta has none."""

    def add(self, name: str, resource: Resource | None) -> None:
        """Add a resource; None adds the removal of the name."""
        if resource is None:
            self.removed.append(name)
            self.versions[name] = ABSENT
            self.size += len(name)
        else:
            self.resources.append(resource)
            # use the string of the resource, so that streams share it
            self.versions[resource.name] = resource.version
            self.size += len(resource.framed)
            if resource.ttl is not None:
                self.ttls[resource.name] = resource.ttl


class SubscriptionState:
    """The state of one resource type on one stream.

    Args:
        type_url: The resource type.
        view: The resources that the source shows to the client.
    """

    __slots__ = (
        "_prepare",
        "_refreshes",
        "_response_owed",
        "_view",
        "_wildcard_versions",
        "backoff",
        "blocked",
        "client_has_state",
        "deferred",
        "failures",
        "in_flight",
        "interest_changes",
        "interrupted",
        "kept_names",
        "lookups",
        "named",
        "newly_kept",
        "outdated_view",
        "pending",
        "rejected",
        "requested_types",
        "response_due",
        "sent_outdated",
        "stopwatch",
        "suspected",
        "ttls",
        "type_url",
        "wildcard",
        "wildcard_frozen",
        "wildcard_names",
        "wildcard_stale",
        "wildcard_unknown",
    )

    def __init__(self, type_url: str, view: NodeView) -> None:
        self.type_url = type_url
        self._view = view
        self._prepare = view.prepare if isinstance(view, MakesInSteps) else None
        self.outdated_view: MayBeOutdated | None = None
        """The view if it implements `MayBeOutdated`, else None."""
        self.wildcard = False
        """Whether the client has a wildcard subscription."""
        self.named: dict[str, str] = {}
        """The names subscribed to one by one, in the client's order, with the version that the
        client has of each (ABSENT for none)."""
        self._wildcard_versions: dict[str, str] = {}
        """The versions that the client has of other names: those of the wildcard."""
        self.wildcard_names = _NO_NAMES
        """The names that the wildcard means, as of the last `update_wildcard`."""
        self.wildcard_stale = False
        """Whether `wildcard_names` must be read from the source again."""
        self.wildcard_unknown = False
        """Whether the source does not know yet what the wildcard means."""
        self._response_owed = False
        """Whether an empty response waits until the source knows more."""
        self.interest_changes: dict[str, bool] = {}
        """Names that the client began (True) or ceased (False) to want since the session last
        cleared this."""
        self.pending: dict[str, bool] = {}
        """Names to look up for the next response. True: the client requested the resource, so send
        it even if it is unchanged."""
        self.interrupted = False
        """Set while a response is built, if a resource of an earlier type in the send order
        changes. The response then ends with the resources that it has."""
        self.response_due = False
        """A response must be sent even if it is empty."""
        self.requested_types: Collection[str] = ()
        """The types that the client has requested on this stream."""
        self.deferred: dict[str, None] | None = None
        """Names that wait until the client requests another type (`Resource.after`)."""
        self.in_flight: dict[str, str] | None = None
        """The versions in the response that has no ACK or NACK yet; None if there is none."""
        self.ttls: Mapping[str, float] = _NO_TTLS
        """The TTLs in the response in flight."""
        self._refreshes: TtlRefreshes | None = None
        """The refreshes of resources with a TTL; None if the client never had one."""
        self.rejected: dict[str, Rejection] = {}
        """Rejections of responses that held one resource: that resource is bad."""
        self.suspected: dict[str, Rejection] = {}
        """Rejections of responses that held several resources: each of them may be bad."""
        self.failures: list[LookupFailed] | None = None
        """Lookups that failed since the last `schedule_retries`."""
        self.backoff: LookupBackoff | None = None
        """The failed lookups that will be repeated, and the names that the source does not know
        yet; None if there are none, as is usual."""
        self.lookups: Lookups | None = None
        """The lookups that the source answers later; None if there never was one."""
        self.stopwatch: Callable[[], float] | None = None
        """Measures how long the source takes."""
        self.blocked: list[SourceBlocked] | None = None
        """The calls of the source that took too long, since the session last reset this."""
        self.kept_names: dict[str, bool] = {}
        """While the source is outdated: names of which the client keeps the version of another
        server. True if that version is known to differ from the one here. Also names of the
        wildcard that the client does not have and is not sent."""
        self.client_has_state = False
        """The client reported resources of a type that it requested before this one."""
        self.wildcard_frozen = False
        """While the source is outdated: the client is sent no new names of the wildcard."""
        self.newly_kept = 0
        """How many more resources the client keeps, since the session last reset this."""
        self.sent_outdated = 0
        """How many resources were sent since the source became outdated."""

    @property
    def has_pending(self) -> bool:
        """Whether a request or a change may require a response."""
        return bool(self.pending) or self.wildcard_stale or self.response_due

    @property
    def next_deadline(self) -> float | None:
        """When the next TTL refresh or retry of a lookup is due.

        None if there is none, or while a response is in flight.
        """
        if self.in_flight is not None:
            return None
        refresh = None if self._refreshes is None else self._refreshes.next_at
        retry = None if self.backoff is None else self.backoff.next_at
        return retry if refresh is None or (retry is not None and retry < refresh) else refresh

    # what the client has

    def version(self, name: str) -> str:
        """Return the version that the client has, as far as is known; ABSENT if it has none."""
        return self.named.get(name) or self._wildcard_versions.get(name, ABSENT)

    def set_version(self, name: str, version: str) -> None:
        """Set the version that the client has of a name; ABSENT if it has none any more."""
        if name in self.named:
            self.named[name] = version
        elif version != ABSENT:
            self._wildcard_versions[name] = version
        else:
            self._wildcard_versions.pop(name, None)

    def held_names(self) -> Iterator[str]:
        """Yield the names of the resources that the client has."""
        yield from (name for name, version in self.named.items() if version != ABSENT)
        yield from self._wildcard_versions

    # what the client wants

    def add_name(self, name: str) -> None:
        """Subscribe the client to a name. Does nothing if it is subscribed already."""
        if name not in self.named:
            self.named[name] = self._wildcard_versions.pop(name, ABSENT)

    def drop_name(self, name: str) -> None:
        """Unsubscribe the client from a name; its version is remembered."""
        version = self.named.pop(name)
        self.set_version(name, version)

    def set_names(self, names: Iterable[str]) -> Steps[None]:
        """Replace the names that the client is subscribed to; all versions are remembered."""
        before, self.named = self.named, dict.fromkeys(names, ABSENT)
        for count, (name, version) in enumerate((before | self._wildcard_versions).items(), 1):
            self._wildcard_versions.pop(name, None)
            self.set_version(name, version)
            if not count % STRIDE:
                yield

    @property
    def wanted_count(self) -> int:
        """The number of names that the client wants."""
        return len(self.named) + len(self.wildcard_names - self.named.keys())

    def wants(self, name: str) -> bool:
        """Return whether the client is subscribed to a name, directly or by the wildcard."""
        return name in self.named or name in self.wildcard_names

    def wanted(self) -> Iterator[str]:
        """Yield every name that the client wants."""
        yield from self.named
        yield from self.wildcard_names - self.named.keys()

    # what the source says

    def resources_changed(self, names: Iterable[str]) -> bool:
        """Queue changed resources that the client wants; return whether there are any."""
        wanted = [name for name in names if self.wants(name)]
        for name in wanted:
            self.pending.setdefault(name, False)
            if self.lookups is not None:
                self.lookups.outdate(name)
        return bool(wanted)

    def everything_changed(self) -> bool:
        """Note that anything may have changed; return whether the client wants anything."""
        return self.resources_changed(list(self.wanted())) | self.wildcard_changed()

    def resend(self, names: Iterable[str]) -> None:
        """Queue the resources that the client wants to be sent, even if they are unchanged."""
        for name in names:
            if self.wants(name):
                self.pending[name] = True

    def wildcard_changed(self) -> bool:
        """Note that the wildcard means other names; return whether the client subscribed to it."""
        self.wildcard_stale = self.wildcard
        return self.wildcard

    def defer(self, name: str, resource: Resource | None) -> bool:
        """Defer a resource that must wait for another type (`Resource.after`); return whether."""
        if (
            resource is None
            or resource.after is None
            or resource.after in self.requested_types
            or name in self.named
            or self.version(name) != ABSENT
        ):
            return False
        self.deferred = self.deferred or {}
        self.deferred[name] = None
        return True

    def resume_deferred(self) -> None:
        """Queue the deferred resources again; those that must still wait are deferred anew."""
        deferred, self.deferred = self.deferred or {}, None
        for name in deferred:
            self.pending.setdefault(name, False)

    def update_wildcard(self) -> None:
        """Read the names of the wildcard from the source, if they may have changed."""
        if not self.wildcard_stale:
            return
        self.wildcard_stale = False
        wildcard_names = self._current_wildcard_names()
        if wildcard_names is None:
            self.wildcard_unknown = True
            self._response_owed = self._response_owed or self.response_due
            self.response_due = False
            return
        if self.wildcard_unknown:
            self.wildcard_unknown = False
            self.response_due = self.response_due or self._response_owed
            self._response_owed = False
            for name in () if self.backoff is None else self.backoff.pending_names():
                self.pending.setdefault(name, False)
        for name in sorted(wildcard_names ^ self.wildcard_names):
            if self._is_frozen(name, wildcard_names):
                self._record_kept(name)
            else:
                self.pending.setdefault(name, False)
                if self.version(name) == ABSENT and name not in self.named:
                    self.kept_names.pop(name, None)  # the freeze had held it back
            self.interest_changes[name] = name in wildcard_names or name in self.named
        self.wildcard_names = wildcard_names

    def look_up(self, name: str, *, requested: bool = False) -> Steps[tuple[bool, Resource | None]]:
        """Look up a resource for the client; return whether that succeeded, and the result.

        The result is None if the source has no such resource, or the client does not want it. A
        failed or interrupted lookup is repeated later. `requested`: the client requested the
        resource, so send it then even if it is unchanged. Yields only if the source makes the
        resource in steps.
        """
        found: Found = None
        if self.wants(name):
            try:
                if self._prepare is not None:
                    steps = self._prepare(self.type_url, name)
                    if steps is not None:
                        yield from steps
                    if steps is not None and self.interrupted:
                        # the resource may refer to another one that must be sent first
                        self.pending[name] = requested or self.pending.get(name, False)
                        return False, None
                found = self._ask(name)
            except Exception as error:
                # a failed lookup must not prevent the lookups of other names
                self.failures = self.failures or []
                self.failures.append(LookupFailed(self.type_url, name, error))
                self.backoff = self.backoff or LookupBackoff()
                self.backoff.record_failure(name, requested)
                return False, None
        elif self.wildcard_unknown and self.wildcard:
            found = PENDING
        elif self.lookups is not None:
            self.lookups.discard(name)
        if found is PENDING:
            self.backoff = self.backoff or LookupBackoff()
            self.backoff.wait(name, requested)
            return False, None
        self.lookup_succeeded(name)
        return True, found

    def _ask(self, name: str) -> Found:
        if self.lookups is not None and name in self.lookups:
            return self.lookups.answer(name)
        if self.stopwatch is None:
            answer = self._view.resource(self.type_url, name)
        else:
            begin = self.stopwatch()
            answer = self._view.resource(self.type_url, name)
            seconds = self.stopwatch() - begin
            if seconds > BLOCKED_SECONDS:
                self._record_blocked("resource", name, seconds)
        if answer is None or (
            isinstance(answer, Resource)
            and answer.name == name
            and answer.type_url == self.type_url
        ):
            return answer  # as nearly always; `checked` would say the same
        if isinstance(answer, Resource) or not isinstance(answer, Awaitable):
            return checked(self.type_url, name, answer)
        self.lookups = self.lookups or Lookups()
        self.lookups.start(self.type_url, name, answer)
        return PENDING

    def _record_blocked(self, call: str, name: str, seconds: float) -> None:
        self.blocked = self.blocked or []
        self.blocked.append(SourceBlocked(call, self.type_url, name, seconds))

    def lookup_finished(self, lookup: Lookup, answer: object) -> bool:
        """A lookup has brought an answer, or an error; return whether the client waits for it."""
        if isinstance(self._view, TtlStrippingView):
            answer = self._view.stripped(answer)
        if self.lookups is None or not self.lookups.finish(lookup, answer):
            return False
        self.pending.setdefault(lookup.name, False)
        return True

    def is_pending(self, name: str) -> bool:
        """Return whether the source doesn't know yet what there is by a name."""
        return self.backoff is not None and self.backoff.is_pending(name)

    @property
    def is_waiting(self) -> bool:
        """Whether the source doesn't know yet what there is by some name."""
        return self.backoff is not None and any(True for _ in self.backoff.pending_names())

    def take_response_due(self) -> bool:
        """Return whether to send an answer that says nothing, which is due no longer then.

        As long as something is not known yet, it waits: a client that starts would go on without.
        """
        due = self.response_due or self._response_owed
        self.response_due = False
        self._response_owed = due and self.is_waiting
        return due and not self._response_owed

    @property
    def awaits_held_resource(self) -> bool:
        """Whether it is not known yet what is to replace something that the client has."""
        waiting = () if self.backoff is None else self.backoff.pending_names()
        return any(self.version(name) != ABSENT for name in waiting)

    def lookup_succeeded(self, name: str) -> None:
        """Forget the failed lookups of a name."""
        if self.backoff is not None:
            self.backoff.discard(name)
            self.backoff = self.backoff or None

    def drop_unwanted_lookups(self) -> None:
        """Forget the lookups of names that the client does not want any more."""
        for name in [] if self.backoff is None else list(self.backoff):
            if not self.wants(name):
                self.lookup_succeeded(name)
                if self.lookups is not None:
                    self.lookups.discard(name)

    def lookup_failed(self, name: str) -> bool:
        """Return whether the last lookup of a name failed."""
        return self.backoff is not None and name in self.backoff

    def was_requested(self, name: str) -> bool:
        """Return whether the client requested a name whose lookup failed."""
        return self.backoff is not None and self.backoff.was_requested(name)

    def schedule_retries(self, now: float, jitter: float) -> list[LookupFailed]:
        """Schedule retries of the lookups that failed since the last call; return the failures."""
        failures, self.failures = self.failures or [], None
        if self.backoff is None:
            return failures
        self.backoff.schedule_retries(now, jitter)
        return [
            replace(failure, retry_after=self.backoff.seconds_until_retry(failure.name, now))
            for failure in failures
        ]

    def queue_retries(self, now: float) -> None:
        """Queue the failed lookups whose retry is due."""
        if self.backoff is not None:
            for name, requested in self.backoff.pop_due(now):
                self.pending[name] = requested or self.pending.get(name, False)

    # what the client keeps while the source is outdated

    def is_outdated(self, name: str) -> bool:
        """Return whether another server may have a newer version of a resource.

        The name "*" asks about the set of names that the wildcard means.
        """
        return self.outdated_view is not None and self.outdated_view.is_outdated(
            self.type_url, name
        )

    def record_reported(self, names: Iterable[str]) -> Steps[None]:
        """Record names that the client reports on a new stream, if the source is outdated.

        Their versions come from another server and may be newer than those here.
        """
        if not self.is_outdated(WILDCARD):
            return
        for count, name in enumerate(names, 1):
            if (self.wildcard or name in self.named) and self.is_outdated(name):
                self.kept_names[name] = False
            if not count % STRIDE:
                yield

    def freeze_wildcard(self) -> None:
        """Send no new names of the wildcard if the client has state and the source is outdated.

        The client has state if it reported resources of this type or of an earlier one. The latter
        counts because a client for which all resources of a type were removed reports none.
        """
        has_state = self.client_has_state or bool(self.kept_names)
        self.wildcard_frozen = has_state and self.is_outdated(WILDCARD)

    def keep_client_version(self, name: str, resource: Resource | None) -> bool:
        """Return whether the client must keep its version of a name, and record it then.

        `resource` is what the source has.
        """
        if name not in self.kept_names:
            return False
        is_same = resource is not None and resource.version == self.version(name)
        if is_same or not self.is_outdated(name):
            del self.kept_names[name]
            return False
        self._record_kept(name)
        return True

    def refresh_kept_ttl(self, name: str, ttl: float) -> None:
        """Refresh at once a kept resource with a TTL: it may expire soon."""
        self._refreshes = self._refreshes or TtlRefreshes()
        if name not in self._refreshes and self.version(name) != ABSENT:
            self._refreshes.schedule_now(name, ttl)

    def caught_up(self) -> bool:
        """Queue the kept resources, as the source is up to date; return whether there are any."""
        kept_names, self.kept_names = self.kept_names, {}
        self.wildcard_frozen = False
        self.newly_kept = self.sent_outdated = 0
        for name in kept_names:
            self.pending.setdefault(name, False)
        return bool(kept_names)

    def _is_frozen(self, name: str, wildcard_names: Collection[str]) -> bool:
        return (
            self.wildcard_frozen
            and name in wildcard_names
            and name not in self.named
            and self.version(name) == ABSENT
            and self.is_outdated(name)
        )

    def _record_kept(self, name: str) -> None:
        self.newly_kept += not self.kept_names.get(name, False)
        self.kept_names[name] = True

    # responses, ACKs and NACKs

    def mark_sent(self, content: ResponseContent) -> None:
        """Record that a response was sent and is in flight."""
        self.in_flight, self.ttls = content.versions, content.ttls or _NO_TTLS
        self._response_owed = False
        if self.is_outdated(WILDCARD):
            names = (each.name for each in content.resources if each.name in content.versions)
            self.sent_outdated += sum(map(self.is_outdated, names))

    def clear_in_flight(self) -> dict[str, str]:
        """End the flight of a response, after its ACK or NACK; return its versions."""
        versions, self.in_flight = self.in_flight or {}, None
        return versions

    def mark_acknowledged(self, name: str, now: float) -> None:
        """Record that the client accepted a name of a response, and started to count its TTL."""
        self.rejected.pop(name, None)
        self.suspected.pop(name, None)
        self.cancel_refresh(name)
        if name in self.ttls and self.version(name) != ABSENT:
            self._refreshes = self._refreshes or TtlRefreshes()
            self._refreshes.schedule(name, self.ttls[name], now)

    @property
    def has_rejected_update(self) -> bool:
        """Whether the client uses an older version of a resource: it rejected the current one."""
        return any(
            each.is_current and self.version(name) != ABSENT for name, each in self.rejected.items()
        )

    def refresh_rejection(self, name: str, version: str) -> None:
        """Update whether the current version is the one that the client rejected."""
        rejection = self.rejected.get(name)
        if rejection is not None:
            self.rejected[name] = replace(rejection, is_current=rejection.version == version)

    def forget(self, name: str) -> None:
        """Drop all state of a name that the client does not want any more."""
        self.interest_changes[name] = False
        for table in (self.pending, self.rejected, self.suspected, self.kept_names):
            table.pop(name, None)
        self.set_version(name, ABSENT)
        if self.lookups is not None:
            self.lookups.discard(name)
        self.cancel_refresh(name)
        self.lookup_succeeded(name)

    # refreshes of TTLs

    def has_refresh(self, name: str) -> bool:
        """Return whether a refresh of a name is scheduled."""
        return self._refreshes is not None and name in self._refreshes

    def refreshes_due(self, now: float) -> Iterator[tuple[str, float]]:
        """Yield name and TTL of each refresh that is due; see `TtlRefreshes.pop_due`."""
        if self._refreshes is not None:
            yield from self._refreshes.pop_due(now)

    def cancel_refresh(self, name: str) -> None:
        """Stop refreshing a name: the client has it without a TTL, or must let it expire."""
        if self._refreshes is not None:
            self._refreshes.cancel(name)

    # status

    def resource_states(self) -> Iterator[ResourceState]:
        """Yield the status of each name that the client wants. Costs O(names) lookups."""
        current = self._current_wildcard_names() if self.wildcard_stale else None
        wildcard_names = self.wildcard_names if current is None else current
        for name in sorted(self.named.keys() | wildcard_names):
            rejection = self.rejected.get(name) or self.suspected.get(name)
            status, version = self._status(name, rejection)
            if status is Status.SYNCED:
                rejection = None
            yield ResourceState(self.type_url, name, status, version, rejection)

    def _status(self, name: str, rejection: Rejection | None) -> tuple[Status, str]:
        if self.in_flight and name in self.in_flight:
            return Status.STALE, self.in_flight[name]
        try:
            resource = self._peek(name)
        except Exception:  # the stream reports it to its observer
            return Status.UNKNOWN, self.version(name)
        if resource is PENDING:
            return Status.UNKNOWN, self.version(name)
        version = resource.version if resource else ABSENT
        if rejection is not None and rejection.version == version:
            return Status.ERROR, version
        if version == ABSENT or version != self.version(name) or self.pending.get(name, False):
            return Status.NOT_SENT, version
        return Status.SYNCED, version

    def _peek(self, name: str) -> Found:
        """Look up a name without effect on the stream."""
        if self.lookups is not None and name in self.lookups:
            return self.lookups.peek(name)
        answer = self._view.resource(self.type_url, name)
        if isinstance(answer, Awaitable):
            close_unawaited(answer)
            return PENDING
        return checked(self.type_url, name, answer)

    def _current_wildcard_names(self) -> frozenset[str] | None:
        """Return what the wildcard means now; None: that is not known yet."""
        begin = 0.0 if self.stopwatch is None else self.stopwatch()
        names = self._view.wildcard(self.type_url)
        seconds = 0.0 if self.stopwatch is None else self.stopwatch() - begin
        if seconds > BLOCKED_SECONDS:
            self._record_blocked("wildcard", WILDCARD, seconds)
        if names is PENDING:
            return None
        check_names(names, f"what NodeView.wildcard({self.type_url!r}) returns")
        return frozenset(names)
