"""What a change of clouds means for the streams: which of them are notified, and of what.

Nothing is planned or compiled here, but the listeners of the changed clouds' own sites. A change
costs what it concerns: the targets in use that depend on the changed clouds, and their sites. The
words for services are in the Lua of all sites, so a changed service type concerns each of them.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from scopeway.control_plane.clouds.inventory import Inventory, free_inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.planner.prefetch import own_targets
from scopeway.control_plane.scope import is_fanout_name
from scopeway.control_plane.serving.cluster_lookup import BATCH, ClusterLookup, batches
from scopeway.control_plane.serving.debounce import Debounce
from scopeway.control_plane.serving.policy_index import PolicyIndex, Timer
from scopeway.control_plane.serving.prefetch_set import PrefetchSet
from scopeway.control_plane.serving.site_cache import SITE_TYPES
from scopeway.control_plane.serving.site_lookup import SiteLookup
from scopeway.control_plane.serving.site_state import Fleet, Versions, changed_names
from scopeway.control_plane.serving.target_index import is_another_caller
from scopeway.control_plane.translator.names import PEER
from scopeway.xds.steps import STRIDE, Steps
from scopeway.xds.type_urls import CLUSTER, ROUTE

CloudChange = tuple[Cloud | None, Cloud | None]
"""A cloud before and after; None: there was, or is, none."""


class Notifier(Protocol):
    """Notifies streams of changes (`xds.notifier.ChangeNotifier`)."""

    def resources_changed(self, type_url: str, names: Collection[str], group: str) -> None:
        """Tell the streams of a group that these resources may be others now."""

    def wildcard_changed(self, type_url: str, group: str) -> None:
        """Tell the streams of a group that their wildcard means other names now."""

    def caught_up(self) -> Steps[None]:
        """Tell all streams, in steps, that what is known is outdated no longer."""


class ChangePropagation:
    """Takes new inventories, and notifies the streams that they concern."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        notifier: Notifier,
        settings: PlanSettings,
        prefetch: PrefetchSet | None,
        clusters: ClusterLookup,
        site_resources: SiteLookup,
        policies: PolicyIndex,
        timer: Timer | None,
        defer: Callable[[Steps[None]], None],
    ) -> None:
        """See `ScopewaySource`."""
        self._fleet = fleet
        self._notifier = notifier
        self._settings = settings
        self._prefetch = prefetch
        self._clusters = clusters
        self._site_resources = site_resources
        self._policies = policies
        self._fanouts = Debounce(lambda names: defer(self._notify(names)), timer)

    def steps(self, inventory: Inventory, changed: Collection[str]) -> Steps[None]:
        """Take a new inventory; see `ScopewaySource.steps`."""
        sites, held = self._fleet.sites, [self._fleet.inventory]
        types = inventory.declared.changed_since(held[0].declared)
        new_lua = bool(types) and inventory.declared.differs_in_lua(held[0].declared)
        self._fleet.inventory = inventory
        if new_lua:
            self._site_resources.forget_all()
        changes: list[CloudChange] = []
        for count, name in enumerate(changed, 1):
            changes.append((held[0].get(name), inventory.get(name)))
            if not count % STRIDE:
                yield
        fetched: Collection[str] = ()
        if self._prefetch is not None:
            fetched = yield from self._prefetch.update(inventory, changed)
            fetched = self._prefetch.clouds if types else fetched
        notified = yield from self._notify_users(changes, types)
        peers: set[str] = set()
        for site, (old, new) in zip(changed, changes, strict=True):
            if site in sites:
                yield from self._update_site(site, old, new, notified)
            if site in sites and self.set_policy(site):
                peers.add(site)
            yield
        if new_lua:
            yield from self._update_lua(changed)
        for some in self._policies.change(changes):
            peers.update(some)
            yield
        for site in peers:
            notify_peers(self._notifier, (site,))
            yield
        for site in list(sites) if fetched else ():
            if site in sites and self._refresh_prefetched(site, fetched):
                self._notifier.wildcard_changed(CLUSTER, site)
            yield
        changes.clear()
        yield from free_inventory(held, changed)

    def catch_up(self) -> Steps[None]:
        """Bring all Envoys up to date; see `ScopewaySource.catch_up`."""
        for site, state in list(self._fleet.sites.items()):
            for some in batches(state.rejected()):
                if self._fleet.sites.get(site) is state:
                    self._notify_site(site, some)
                yield
        yield from self._notifier.caught_up()

    def set_policy(self, site: str) -> bool:
        """Take a site's policy from its cloud; return whether the routes of its peer may change."""
        state = self._fleet.sites[site]
        return self._policies.set(site, self._fleet.inventory.get(site), earlier=state.earlier)

    def prefetch_all(self, site: str) -> None:
        """Note which targets of the prefetched clouds a site gets."""
        if self._prefetch is not None:
            self._refresh_prefetched(site, self._prefetch.clouds)

    def _notify_users(
        self, changes: Iterable[CloudChange], types: Collection[str]
    ) -> Steps[set[str]]:
        """Notify the users of targets that changed clouds and types concern; return these."""
        clouds = [each for change in changes for each in change if each is not None]
        notified: set[str] = set()
        some: list[str] = []
        users = 0
        for names in self._clusters.affected(clouds, types):
            notified.update(names)
            for name in self._due(names):
                some.append(name)
                users += self._clusters.user_count(name)
                if users >= BATCH:
                    yield from self._notify(some)
                    some, users = [], 0
            yield
        yield from self._notify(some)
        return notified

    def _due(self, names: list[str]) -> list[str]:
        """Return the targets to notify of now; fan-outs that have changed just before rest."""
        fanouts = [name for name in names if is_fanout_name(name)]
        if not fanouts:
            return names
        return [name for name in names if not is_fanout_name(name)] + self._fanouts.due(fanouts)

    def _notify(self, targets: Collection[str]) -> Steps[None]:
        for site, names in self._clusters.by_user(targets).items():
            if site in self._fleet.sites:
                self._notify_site(site, names)
            yield

    def _notify_site(self, site: str, names: Collection[str]) -> None:
        if names:
            self._fleet.sites[site].outdate(names)
            self._notifier.resources_changed(CLUSTER, names, group=site)

    def _notify_of_all(self, site: str, notified: Collection[str]) -> Steps[None]:
        """Notify a site that all its targets may have changed, but for those in `notified`."""
        for table in list(self._fleet.sites[site].tables()):
            for some in batches(table):
                if site in self._fleet.sites:
                    self._notify_site(site, [name for name in some if name not in notified])
                yield

    def _update_site(
        self, site: str, old: Cloud | None, new: Cloud | None, notified: Collection[str]
    ) -> Steps[None]:
        """Notify the site of a changed cloud; its streams may come and go meanwhile."""
        versions = yield from self._site_resources.make_again(site)
        renamed = own_targets(old) != own_targets(new)
        if is_another_caller(old, new):
            yield from self._notify_of_all(site, notified)
            if self._prefetch is not None and site in self._fleet.sites:
                renamed |= self._refresh_prefetched(site, self._prefetch.clouds)
        if renamed:
            self._notifier.wildcard_changed(CLUSTER, site)
        self._notify_of_versions(site, versions)

    def _update_lua(self, made: Collection[str]) -> Steps[None]:
        """Make what all sites need anew, but for those in `made`, and notify them."""
        for site in self._fleet.sites.keys() - made:
            if site in self._fleet.sites:
                versions = yield from self._site_resources.make_again(site)
                self._notify_of_versions(site, versions)
            yield

    def _notify_of_versions(self, site: str, versions: Iterable[tuple[Versions, Versions]]) -> None:
        for was, now in versions:
            for type_url in SITE_TYPES:
                changed, named = changed_names(type_url, was, now)
                if changed or named:
                    self._notifier.resources_changed(type_url, [*changed, *named], group=site)
                if named:
                    self._notifier.wildcard_changed(type_url, site)

    def _refresh_prefetched(self, site: str, clouds: Collection[str]) -> bool:
        assert self._prefetch is not None
        return self._prefetch.refresh(
            self._fleet.sites[site].prefetched,
            clouds,
            caller=self._fleet.inventory.get(site),
            inventory=self._fleet.inventory,
            settings=self._settings,
        )


def notify_peers(notifier: Notifier, sites: Iterable[str]) -> None:
    """Tell sites that the routes of their peers may be others now."""
    for site in sites:
        notifier.resources_changed(ROUTE, (PEER,), group=site)
