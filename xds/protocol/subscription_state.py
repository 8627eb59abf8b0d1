"""What one client wants of one type, what it has of it, and what it is owed.

The books are the same in delta and in the state of the world; when what is entered is a matter of
the rules (`xds.protocol.delta`, `xds.protocol.sotw`), which write here too. Does not know what is
sent when.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from scopeway.xds.encoding.messages import WILDCARD as WILDCARD
from scopeway.xds.events import LookupFailed
from scopeway.xds.protocol.backoff import LookupBackoff
from scopeway.xds.protocol.status import ABSENT, Rejection, ResourceState, Status
from scopeway.xds.protocol.ttl import TtlRefreshes
from scopeway.xds.resource import Resource
from scopeway.xds.source import MakesInSteps, MayBeOutdated, NodeView
from scopeway.xds.steps import STRIDE, Steps

_NO_TTLS: Final[Mapping[str, float]] = {}
_NO_NAMES: Final[frozenset[str]] = frozenset()
"""Not that of each type on each stream: an empty one takes 216 bytes."""


@dataclass(slots=True)
class ResponseContent:
    """The content of one response."""

    resources: list[Resource] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    """The version of every name in it; ABSENT for the removed ones, heartbeats left out."""
    ttls: dict[str, float] = field(default_factory=dict)
    """Of the names that have one."""
    unchanged: frozenset[str] = frozenset()
    """Names that the client has at this version; they are only there to complete a state."""
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


class SubscriptionState:
    """The books of one type on one stream.

    Args:
        type_url: The type.
        view: What the source shows.
    """

    __slots__ = (
        "_prepare",
        "_refreshes",
        "_view",
        "_wildcard_versions",
        "backoff",
        "client_has_state",
        "deferred",
        "failures",
        "in_flight",
        "interest_changes",
        "interrupted",
        "kept_names",
        "named",
        "newly_kept",
        "outdated_view",
        "pending",
        "rejected",
        "requested_types",
        "response_due",
        "sent_outdated",
        "suspected",
        "ttls",
        "type_url",
        "wildcard",
        "wildcard_frozen",
        "wildcard_names",
        "wildcard_stale",
    )

    def __init__(self, type_url: str, view: NodeView) -> None:
        self.type_url = type_url
        self._view = view
        self._prepare = view.prepare if isinstance(view, MakesInSteps) else None
        self.outdated_view: MayBeOutdated | None = None
        """The view, where it may be outdated."""
        self.wildcard = False
        """Whether the client has a wildcard subscription."""
        self.named: dict[str, str] = {}
        """Subscribed by name, in the client's order; with what is held of each, see `version`."""
        self._wildcard_versions: dict[str, str] = {}
        """What is held of other names, which the wildcard means or meant."""
        self.wildcard_names = _NO_NAMES
        """Subscribed by the wildcard, as far as it has been looked at."""
        self.wildcard_stale = False
        self.interest_changes: dict[str, bool] = {}
        """Names that came (True) or went (False) since the owner last emptied this."""
        self.pending: dict[str, bool] = {}
        """Names to look at before the next answer; True: answer even if unchanged."""
        self.interrupted = False
        """Set when the answer in the making must end with what it has, as something has changed
        that goes before it; see `xds.protocol.session.Session.resources_changed`."""
        self.response_due = False
        """An answer is due even if it has nothing new to say."""
        self.requested_types: Collection[str] = ()
        """The types that the client has asked for on this stream."""
        self.deferred: dict[str, None] | None = None
        """Names that wait for another type to be asked for (`Resource.after`)."""
        self.in_flight: dict[str, str] | None = None
        """The versions in the response that is not acknowledged yet."""
        self.ttls: Mapping[str, float] = _NO_TTLS
        """Of what is in flight."""
        self._refreshes: TtlRefreshes | None = None
        """Of what is held with a TTL, once something was."""
        self.rejected: dict[str, Rejection] = {}
        """Versions that were rejected alone in their response."""
        self.suspected: dict[str, Rejection] = {}
        """Versions that were rejected among others, and not seen since."""
        self.failures: list[LookupFailed] | None = None
        """Lookups that failed since the last `schedule_retries`."""
        self.backoff: LookupBackoff | None = None
        """What could not be looked up, to be tried again; None: nothing, as nearly always."""
        self.kept_names: dict[str, bool] = {}
        """Names of which the client has what another server sent, while the source is outdated:
        True where that is known to differ from what there is here. Also what the wildcard means
        here, and the client hasn't."""
        self.client_has_state = False
        """The client has reported something of a type that it asked for before this one."""
        self.wildcard_frozen = False
        """The client keeps its set of resources: what the wildcard means besides is not sent."""
        self.newly_kept = 0
        """How many resources the client keeps, since the owner last took note."""
        self.sent_outdated = 0
        """Resources sent since the source is outdated."""

    @property
    def has_pending(self) -> bool:
        """Whether something may have to be sent for what was asked for, or has changed."""
        return bool(self.pending) or self.wildcard_stale or self.response_due

    @property
    def next_deadline(self) -> float | None:
        """When to look again without any news; None: never, or not before the client's answer.

        For a refresh of what the client holds, or for what could not be looked up.
        """
        if self.in_flight is not None:
            return None
        refresh = None if self._refreshes is None else self._refreshes.next_at
        retry = None if self.backoff is None else self.backoff.next_at
        return retry if refresh is None or (retry is not None and retry < refresh) else refresh

    # what the client has

    def version(self, name: str) -> str:
        """Return the version that the client has, as far as is known; ABSENT: it has none."""
        return self.named.get(name) or self._wildcard_versions.get(name, ABSENT)

    def set_version(self, name: str, version: str) -> None:
        """The client has a version of a name, or with ABSENT none any more."""
        if name in self.named:
            self.named[name] = version
        elif version != ABSENT:
            self._wildcard_versions[name] = version
        else:
            self._wildcard_versions.pop(name, None)

    def held_names(self) -> Iterator[str]:
        """Yield the names of which the client has a version."""
        yield from (name for name, version in self.named.items() if version != ABSENT)
        yield from self._wildcard_versions

    # what the client wants

    def add_name(self, name: str) -> None:
        """The client subscribes to a name; harmless when it is subscribed."""
        if name not in self.named:
            self.named[name] = self._wildcard_versions.pop(name, ABSENT)

    def drop_name(self, name: str) -> None:
        """The client is no longer subscribed to a name; what it holds of it is not forgotten."""
        version = self.named.pop(name)
        self.set_version(name, version)

    def set_names(self, names: Iterable[str]) -> Steps[None]:
        """The client is subscribed to these names now; what it holds is not forgotten."""
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
        """Return whether the client wants a name, by itself or by the wildcard."""
        return name in self.named or name in self.wildcard_names

    def wanted(self) -> Iterator[str]:
        """Yield every name that the client wants."""
        yield from self.named
        yield from self.wildcard_names - self.named.keys()

    # what the source says

    def resources_changed(self, names: Iterable[str]) -> bool:
        """Note that resources changed; return whether the client wants any of them."""
        wanted = [name for name in names if self.wants(name)]
        for name in wanted:
            self.pending.setdefault(name, False)
        return bool(wanted)

    def resend(self, names: Iterable[str]) -> None:
        """Owe the client these resources even if they are what it has, as far as it wants them."""
        for name in names:
            if self.wants(name):
                self.pending[name] = True

    def wildcard_changed(self) -> bool:
        """Note that the wildcard means other names; return whether the client has one."""
        self.wildcard_stale = self.wildcard
        return self.wildcard

    def defer(self, name: str, resource: Resource | None) -> bool:
        """Return whether a resource has to wait (`Resource.after`), and note it then."""
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
        """Owe the client what was deferred, as far as it need not wait any longer."""
        deferred, self.deferred = self.deferred or {}, None
        for name in deferred:
            self.pending.setdefault(name, False)

    def update_wildcard(self) -> None:
        """Take over what the wildcard means now, if that may have changed."""
        if not self.wildcard_stale:
            return
        self.wildcard_stale = False
        wildcard_names = self._current_wildcard_names()
        for name in sorted(wildcard_names ^ self.wildcard_names):
            if self._is_frozen(name, wildcard_names):
                self._record_kept(name)
            else:
                self.pending.setdefault(name, False)
                if self.version(name) == ABSENT and name not in self.named:
                    self.kept_names.pop(name, None)  # it was withheld
            self.interest_changes[name] = name in wildcard_names or name in self.named
        self.wildcard_names = wildcard_names

    def look_up(self, name: str, *, requested: bool = False) -> Steps[tuple[bool, Resource | None]]:
        """Return whether it is known what there is for the client by this name, and that.

        What isn't known comes up again; `requested`: then to be answered even if unchanged. Others
        have their turn only where the source makes the resource in steps.
        """
        resource = None
        if self.wants(name):
            try:
                if self._prepare is not None:
                    steps = self._prepare(self.type_url, name)
                    if steps is not None:
                        yield from steps
                    if steps is not None and self.interrupted:  # it may refer to what goes first
                        self.pending[name] = requested or self.pending.get(name, False)
                        return False, None
                resource = self._view.resource(self.type_url, name)
            except Exception as error:
                # one name that cannot be looked up must not cost the client all the others
                self.failures = self.failures or []
                self.failures.append(LookupFailed(self.type_url, name, error))
                self.backoff = self.backoff or LookupBackoff()
                self.backoff.record_failure(name, requested)
                return False, None
        self.lookup_succeeded(name)
        return True, resource

    def lookup_succeeded(self, name: str) -> None:
        """It is known what there is by this name, or it doesn't count any more."""
        if self.backoff is not None:
            self.backoff.discard(name)
            self.backoff = self.backoff or None

    def lookup_failed(self, name: str) -> bool:
        """Return whether a name could not be looked up when that was last tried."""
        return self.backoff is not None and name in self.backoff

    def was_requested(self, name: str) -> bool:
        """Return whether the client asked for a name when it couldn't be looked up."""
        return self.backoff is not None and self.backoff.was_requested(name)

    def schedule_retries(self, now: float, spread: float) -> list[LookupFailed]:
        """Return the lookups that failed since the last call; they are tried again later."""
        failures, self.failures = self.failures or [], None
        if self.backoff is not None:
            self.backoff.schedule_retries(now, spread)
        return failures

    def queue_retries(self, now: float) -> None:
        """Owe the client what could not be looked up, where it is time to try again."""
        if self.backoff is not None:
            for name, requested in self.backoff.pop_due(now):
                self.pending[name] = requested or self.pending.get(name, False)

    # what the client keeps, while the source is outdated

    def is_outdated(self, name: str) -> bool:
        """Return whether another server may know more of a name, or with "*" of the wildcard."""
        return self.outdated_view is not None and self.outdated_view.is_outdated(
            self.type_url, name
        )

    def record_reported(self, names: Iterable[str]) -> Steps[None]:
        """The client has versions of these names from elsewhere; they may be newer than those here.

        Costs next to nothing where the source is not outdated.
        """
        if not self.is_outdated(WILDCARD):
            return
        for count, name in enumerate(names, 1):
            if (self.wildcard or name in self.named) and self.is_outdated(name):
                self.kept_names[name] = False
            if not count % STRIDE:
                yield

    def freeze_wildcard(self) -> None:
        """Where the client runs already, let it keep its set of resources.

        It runs if it has reported something of this type, or of one before: a client for which all
        resources of a type were removed reports none of them.
        """
        runs = self.client_has_state or bool(self.kept_names)
        self.wildcard_frozen = runs and self.is_outdated(WILDCARD)

    def keep_client_version(self, name: str, resource: Resource | None) -> bool:
        """Return whether the client is to keep what it has of a name, in place of this."""
        if name not in self.kept_names:
            return False
        is_same = resource is not None and resource.version == self.version(name)
        if is_same or not self.is_outdated(name):
            del self.kept_names[name]
            return False
        self._record_kept(name)
        return True

    def refresh_kept_ttl(self, name: str, ttl: float) -> None:
        """Keep the client from losing what it keeps, whose TTL it has counted for some time."""
        self._refreshes = self._refreshes or TtlRefreshes()
        if name not in self._refreshes and self.version(name) != ABSENT:
            self._refreshes.schedule_now(name, ttl)

    def caught_up(self) -> bool:
        """Owe the client what it has kept, where that differs; return whether it kept anything."""
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

    # what was sent, and what the client says of it

    def mark_sent(self, content: ResponseContent) -> None:
        """An answer is in flight from now on."""
        self.in_flight, self.ttls = content.versions, content.ttls or _NO_TTLS
        if self.is_outdated(WILDCARD):
            names = (each.name for each in content.resources if each.name in content.versions)
            self.sent_outdated += sum(map(self.is_outdated, names))

    def clear_in_flight(self) -> dict[str, str]:
        """Nothing is in flight any more; return the versions that were."""
        versions, self.in_flight = self.in_flight or {}, None
        return versions

    def mark_acknowledged(self, name: str, now: float) -> None:
        """The client took what it was sent of a name, and counts the seconds of its TTL."""
        self.rejected.pop(name, None)
        self.suspected.pop(name, None)
        self.cancel_refresh(name)
        if name in self.ttls and self.version(name) != ABSENT:
            self._refreshes = self._refreshes or TtlRefreshes()
            self._refreshes.schedule(name, self.ttls[name], now)

    def refresh_rejection(self, name: str, version: str) -> None:
        """What there is now may be, or not be, what the client has rejected."""
        rejection = self.rejected.get(name)
        if rejection is not None:
            self.rejected[name] = replace(rejection, is_current=rejection.version == version)

    def forget(self, name: str) -> None:
        """The client does not want a name any more."""
        self.interest_changes[name] = False
        for table in (self.pending, self.rejected, self.suspected, self.kept_names):
            table.pop(name, None)
        self.set_version(name, ABSENT)
        self.cancel_refresh(name)
        self.lookup_succeeded(name)

    # what the client has to be told again, or loses

    def has_refresh(self, name: str) -> bool:
        """Return whether the client is kept from losing what it holds of a name."""
        return self._refreshes is not None and name in self._refreshes

    def refreshes_due(self, now: float) -> Iterator[tuple[str, float]]:
        """Yield name and TTL of what must be told again now, as `TtlRefreshes.pop_due`."""
        if self._refreshes is not None:
            yield from self._refreshes.pop_due(now)

    def cancel_refresh(self, name: str) -> None:
        """What the client holds of a name has no TTL, or must run out."""
        if self._refreshes is not None:
            self._refreshes.cancel(name)

    # for those who ask how it goes

    def resource_states(self) -> Iterator[ResourceState]:
        """Yield how far the client is with each name that it wants; costs O(names) lookups."""
        wildcard_names = (
            self._current_wildcard_names() if self.wildcard_stale else self.wildcard_names
        )
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
            resource = self._view.resource(self.type_url, name)
        except Exception:  # the stream itself has met it, and told its observer
            return Status.UNKNOWN, self.version(name)
        version = resource.version if resource else ABSENT
        if rejection is not None and rejection.version == version:
            return Status.ERROR, version
        if version == ABSENT or version != self.version(name) or self.pending.get(name, False):
            return Status.NOT_SENT, version
        return Status.SYNCED, version

    def _current_wildcard_names(self) -> frozenset[str]:
        return frozenset(self._view.wildcard(self.type_url))
