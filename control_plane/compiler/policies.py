"""The policies that the peers of connected sites enforce, and which of them a change concerns.

Sites with equal policies share one compiled. A cloud that changes its labels, comes or goes
concerns the policies whose labels select it, and no other; those are compiled anew when a stream
next asks. Not a value: it follows which sites are connected.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from control_plane.clouds.model import Cloud
from control_plane.clouds.policy import Policy, policy_of
from control_plane.clouds.selectors import Selectors
from control_plane.site.names import PEER
from xds.codec import resource
from xds.resource import Resource
from xds.types import ROUTE


@dataclass(slots=True, eq=False)
class _InUse:
    """One policy, and the sites whose peers enforce it."""

    policy: Policy
    sites: set[str] = field(default_factory=set)
    routes: Resource | None = None
    """None: compiled when it is asked for."""


class Policies:
    """The policies of connected sites with a peer."""

    def __init__(self, compile_policy: Callable[[Policy], bytes]) -> None:
        """Compile with a function that returns a peer's encoded `RouteConfiguration`."""
        self._compile = compile_policy
        self._in_use: dict[Policy, _InUse] = {}
        self._of_site: dict[str, _InUse] = {}
        self._selectors: Selectors[_InUse] = Selectors()

    def set(self, site: str, cloud: Cloud | None) -> bool:
        """Take the policy of a site from its cloud; return whether it is another one than before.

        A site whose cloud has no peer, or isn't there, has none.
        """
        policy = None if cloud is None or cloud.peer is None else policy_of(cloud)
        before = self._of_site.get(site)
        if policy == (None if before is None else before.policy):
            return False
        if before is not None:
            self._leave(site, before)
        if policy is not None:
            self._join(site, policy)
        return True

    def routes(self, site: str) -> Resource | None:
        """Return the routes of a site's peer."""
        used = self._of_site.get(site)
        if used is None:
            return None
        if used.routes is None:
            used.routes = resource(ROUTE, PEER, self._compile(used.policy))
        return used.routes

    def change(self, old: Cloud | None, new: Cloud | None) -> Collection[str]:
        """Note a change of one cloud; return the sites whose policies speak of its labels.

        `old` and `new` are the same cloud before and after, None where there is none.
        """
        if old and new and old.labels == new.labels:
            return ()
        sites: set[str] = set()
        for cloud in (old, new):
            if cloud is not None:
                for selecting in self._selectors.selecting(cloud):
                    for used in selecting:
                        used.routes = None
                        sites |= used.sites
        return sites

    def _join(self, site: str, policy: Policy) -> None:
        used = self._in_use.get(policy)
        if used is None:
            used = self._in_use[policy] = _InUse(policy)
            for rule in policy.rules:
                for selector in rule.selectors:
                    self._selectors.add(selector, used)
        used.sites.add(site)
        self._of_site[site] = used

    def _leave(self, site: str, used: _InUse) -> None:
        del self._of_site[site]
        used.sites.discard(site)
        if used.sites:
            return
        del self._in_use[used.policy]
        for rule in used.policy.rules:
            for selector in rule.selectors:
                self._selectors.discard(selector, used)
