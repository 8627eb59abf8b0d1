"""The policies that the peers of connected sites enforce, and which of them a change concerns.

Sites with equal policies share one compilation. If a cloud is added or removed, or changes its
labels, only the policies whose labels select it are compiled again, when a stream next asks. A
policy that takes long to compile rests before the next compilation. So several changes need one
compilation, and a policy takes a small share of the processor, whatever its rules.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import Policy, policy_of
from scopeway.control_plane.clouds.selectors import SelectorIndex
from scopeway.control_plane.translator.names import PEER
from scopeway.xds.encoding.messages import resource
from scopeway.xds.resource import Resource
from scopeway.xds.steps import Steps
from scopeway.xds.type_urls import ROUTE

_log = logging.getLogger(__name__)

QUICK: Final = 0.002
"""Seconds. A policy that compiles faster is compiled at each change."""
REST: Final = 20
"""A policy rests so many times as long as its compilation took: 5 % of a processor."""
LONGEST_REST: Final = 0.5
"""Seconds that an outdated policy is enforced at most, even if the machine stood still during a
compilation."""


class Compiled(Protocol):
    """The routes of a peer (`site.PeerRoutes`)."""

    @property
    def body(self) -> bytes:
        """The encoded `RouteConfiguration`."""

    @property
    def problem(self) -> str | None:
        """Why they let nobody in; None where they are what the rules say."""


class Timer(Protocol):
    """A clock that calls back (an event loop)."""

    def time(self) -> float:
        """Return seconds that never go back."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        """Call back after so many seconds."""


@dataclass(slots=True, eq=False)
class _InUse:
    """One policy, and the sites whose peers enforce it."""

    policy: Policy
    earlier: bool
    """Whether the Envoys of its sites may have listeners of an earlier version."""
    sites: set[str] = field(default_factory=set)
    routes: Resource | None = None
    """As they were compiled last."""
    outdated: bool = True
    """Whether it must be compiled when it is next asked for and has rested."""
    compiling: Steps[Compiled] | None = None
    """The rest of a compilation, which the streams of all its sites continue."""
    took: float = 0.0
    """Seconds of that so far."""
    changed: bool = False
    """Since it began."""
    waiters: int = 0
    """How many streams continue it."""
    rested: float = 0.0
    """When it may be compiled again."""
    waiting: bool = False
    """The timer is set."""
    problem: str | None = None


class PolicyIndex:
    """The policies of connected sites with a peer."""

    def __init__(
        self,
        compile_policy: Callable[[Policy, bool], Steps[Compiled]],
        tell: Callable[[Iterable[str]], None],
        timer: Timer | None = None,
    ) -> None:
        """Begin without sites.

        Args:
            compile_policy: Returns a peer's routes, as of all clouds now; True: for Envoys that may
                have listeners of an earlier version, too.
            tell: Is called with sites whose routes may be others now, after a rest.
            timer: None: nothing ever rests.
        """
        self._compile = compile_policy
        self._tell = tell
        self._timer = timer
        self._in_use: dict[tuple[Policy, bool], _InUse] = {}
        self._of_site: dict[str, _InUse] = {}
        self._before: dict[str, Resource] = {}
        """The routes that a site had by its last policy, while its new one has none."""
        self._selectors: SelectorIndex[_InUse] = SelectorIndex()

    @property
    def problems(self) -> Mapping[str, str]:
        """The sites whose policy is too large, so that nobody is let in, each with the reason."""
        return {
            site: used.problem
            for used in self._in_use.values()
            if used.problem is not None
            for site in sorted(used.sites)
        }

    def set(self, site: str, cloud: Cloud | None, *, earlier: bool = False) -> bool:
        """Take the policy of a site from its cloud; return whether its routes may be other ones.

        A site whose cloud has no peer, or isn't there, has none. `earlier`: an Envoy of the site
        may have listeners of an earlier version.
        """
        policy = None if cloud is None or cloud.peer is None else policy_of(cloud)
        before = self._of_site.get(site)
        was = None if before is None else (before.policy, before.earlier)
        if was == (None if policy is None else (policy, earlier)):
            return False
        if before is not None:
            self._leave(site, before)
            if before.earlier != earlier:  # what it had is not for its Envoys: nothing to wait with
                self._before.pop(site, None)
                before = None
        if policy is None:
            self._before.pop(site, None)
        else:
            self._join(site, policy, earlier, before)
        return True

    def routes(self, site: str) -> Resource | None:
        """Return the routes of a site's peer: while its policy rests, those before the change.

        Never those of another site's policy. Compiles what `prepare` has not.
        """
        used = self._of_site.get(site)
        if used is None:
            return None
        while self._is_due(site, used):
            self._compile_on(used)
        return used.routes or self._before.get(site)

    def prepare(self, site: str) -> Steps[None]:
        """Compile, in steps, what `routes` is to return.

        The sites with a policy share the work. What changes meanwhile is compiled after a rest.
        """
        used = self._of_site.get(site)
        while used is not None and self._is_due(site, used):
            used.waiters += 1
            try:
                while self._of_site.get(site) is used and self._is_due(site, used):
                    self._compile_on(used)
                    yield
            finally:
                used.waiters -= 1
                if not used.waiters:  # what nobody waits for any more would keep its inventory
                    used.compiling = None
            used = self._of_site.get(site)  # another one, if its rules have changed meanwhile

    def change(
        self, changes: Iterable[tuple[Cloud | None, Cloud | None]]
    ) -> Iterator[Collection[str]]:
        """Note a change of clouds; yield the sites whose policies select them by label.

        `changes` has each cloud before and after, None where there is none. The sites of a policy
        may be yielded more than once.
        """
        clouds: list[Cloud] = []
        for old, new in changes:
            if old is None or new is None or old.labels != new.labels:
                clouds += (each for each in (old, new) if each is not None)
            yield ()
        for selecting in self._selectors.users_selecting(clouds):
            yield ()
            for used in list(selecting):
                used.outdated = used.changed = True
                yield used.sites

    def _is_due(self, site: str, used: _InUse) -> bool:
        had = used.routes or self._before.get(site)
        return used.outdated and (had is None or not self._rests(used))

    def _compile_on(self, used: _InUse) -> None:
        """Take the next step of a compilation."""
        start = self._now()
        if used.compiling is None:
            used.compiling = self._compile(used.policy, used.earlier)
            used.took, used.changed = 0.0, False
        try:
            next(used.compiling)
        except StopIteration as done:
            used.compiling = None
            self._compiled(used, done.value, start)
        except Exception:
            used.compiling = None
            raise
        used.took += self._now() - start

    def _compiled(self, used: _InUse, compiled: Compiled, start: float) -> None:
        used.routes = resource(ROUTE, PEER, compiled.body)
        used.outdated = used.changed
        for site in used.sites:
            self._before.pop(site, None)
        took = used.took + self._now() - start
        used.rested = self._now() + (min(REST * took, LONGEST_REST) if took > QUICK else 0)
        if compiled.problem != used.problem:
            used.problem = compiled.problem
            if used.problem is not None:
                _log.warning(
                    "policy too large to enforce, denying all callers: %s",
                    used.problem,
                    extra={"cloud": min(used.sites), "sites": len(used.sites)},
                )

    def _rests(self, used: _InUse) -> bool:
        """Return whether a policy may not be compiled yet; its sites are told when it may."""
        left = used.rested - self._now()
        if self._timer is None or left <= 0:
            return False
        if not used.waiting:
            used.waiting = True
            self._timer.call_later(left, lambda: self._awake(used))
        return True

    def _awake(self, used: _InUse) -> None:
        # also where it was compiled for another site meanwhile: some got those before the change
        used.waiting = False
        if used.sites:
            self._tell(sorted(used.sites))

    def _now(self) -> float:
        return 0.0 if self._timer is None else self._timer.time()

    def _join(self, site: str, policy: Policy, earlier: bool, before: _InUse | None) -> None:
        had = None if before is None else before.routes or self._before.pop(site, None)
        used = self._in_use.get((policy, earlier))
        if used is None:
            used = self._in_use[policy, earlier] = _InUse(policy, earlier)
            if before is not None:  # a site doesn't escape its rest by other rules
                used.rested = before.rested
            for rule in policy.rules:
                for selector in rule.selectors:
                    self._selectors.add(selector, used)
        if had is not None and used.routes is None:
            self._before[site] = had
        used.sites.add(site)
        self._of_site[site] = used

    def _leave(self, site: str, used: _InUse) -> None:
        del self._of_site[site]
        used.sites.discard(site)
        if used.sites:
            return
        del self._in_use[used.policy, used.earlier]
        for rule in used.policy.rules:
            for selector in rule.selectors:
                self._selectors.discard(selector, used)
