"""Writes the status of Kubernetes' objects, where the registry is `kubernetes:`.

Ties `status_writer` to the catalog and the streams. A failure of it is logged and tried again:
Envoys are served all the same.
"""

import asyncio
import logging
import re
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from scopeway.control_plane.catalog.catalog import Change
from scopeway.control_plane.catalog.service_references import further_services
from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.registry import Registry
from scopeway.control_plane.registry.interface import Place
from scopeway.control_plane.runtime.control_plane import ControlPlane
from scopeway.control_plane.status_writer.conditions import Verdict
from scopeway.control_plane.status_writer.connected_clouds import ReplicaClouds, clouds_of
from scopeway.control_plane.status_writer.service import StatusService
from scopeway.control_plane.status_writer.writer import Judge, Observed

if TYPE_CHECKING:
    from scopeway.control_plane.kubernetes_api.client import ApiClient

_log = logging.getLogger(__name__)

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
RESTART = 30.0
"""Seconds until status is begun anew after an error that nobody has expected."""
MAX_HOST = 200
"""Characters of the host name that a replica is named by."""


@runtime_checkable
class ObservedRegistry(Protocol):
    """A registry of objects with a status."""

    on_observed: Callable[[Collection[Place]], None] | None

    @property
    def observed(self) -> Mapping[Place, Observed]:
        """What the watch saw of each object."""


class StatusUpdates:
    """The status of one registry's objects."""

    def __init__(
        self, control_plane: ControlPlane, registry: ObservedRegistry, namespace: str, replica: str
    ) -> None:
        self._control_plane = control_plane
        self._registry = registry
        self._namespace = namespace
        self._replica = replica
        self._service: StatusService | None = None
        self._names: frozenset[str] | None = None
        self._policies: Mapping[str, str] = {}
        self._clouds = ReplicaClouds()
        registry.on_observed = self._observed
        control_plane.on_change = self._changed
        control_plane.metrics.status_leader.set_function(lambda: float(self._leads()))
        control_plane.metrics.status_pending.set_function(self._pending)

    async def run(self) -> None:
        """Write status until it is cancelled."""
        from scopeway.control_plane.kubernetes_api.client import ApiClient
        from scopeway.control_plane.kubernetes_api.url import parse_kubernetes_url

        url = parse_kubernetes_url(self._control_plane.settings.registry)
        while True:
            try:
                async with ApiClient(url) as api:
                    self._service = self._make(api)
                    await self._service.run()
            except Exception:
                _log.exception("writing status failed, everything else goes on")
            finally:
                self._service = None
            await asyncio.sleep(RESTART)

    def _make(self, api: "ApiClient") -> StatusService:
        judge = Judge(
            observed=lambda: self._registry.observed,
            verdict=self._verdict,
            settled=self._control_plane.settled,
        )
        return StatusService(
            api,
            judge,
            namespace=self._namespace,
            replica=self._replica,
            clouds=self._own_clouds,
            disconnected_after=self._control_plane.settings.disconnected_after,
            count=self._control_plane.metrics.count_status,
            times=self._control_plane.settings.status_times,
        )

    def _verdict(self, place: Place) -> Verdict | None:
        return verdict(self._control_plane, place)

    def _own_clouds(self) -> ReplicaClouds:
        source = self._control_plane.source
        assert source is not None
        names, policies = source.connected_sites(), source.policy_problems()
        if names is not self._names or policies != self._policies:
            self._names, self._policies = names, policies
            self._clouds = clouds_of(names, policies)
        return self._clouds

    def _observed(self, places: Collection[Place]) -> None:
        if self._service is not None:
            self._service.writer.touch(places)

    def _changed(self, change: Change) -> None:
        if self._service is None:
            return
        self._service.writer.touch([problem.place for problem in change.new_problems])
        if change.service_types or change.new_undeclared:
            self._service.writer.touch_all()

    def _leads(self) -> bool:
        return self._service is not None and self._service.is_leader

    def _pending(self) -> float:
        return 0.0 if self._service is None else float(self._service.writer.pending)


def status_updates(control_plane: ControlPlane, registry: Registry) -> StatusUpdates | None:
    """Return what writes the status of a registry's objects; None: nothing does.

    Raises:
        ControlPlaneError: a setting asks for status, and the registry has none.
    """
    settings = control_plane.settings
    if not isinstance(registry, ObservedRegistry):
        if settings.status_namespace is not None:
            raise ControlPlaneError("--status-namespace needs the registry kubernetes:")
        return None
    namespace = settings.status_namespace or _own_namespace()
    if namespace is None:
        _log.info(
            "no status is written to Kubernetes: this process is in no pod, and "
            "--status-namespace is not given"
        )
        return None
    replica = settings.replica or replica_name(socket.gethostname())
    return StatusUpdates(control_plane, registry, namespace, replica)


def verdict(control_plane: ControlPlane, place: Place) -> Verdict | None:
    """Return what the catalog thinks of the object at a place; None: it doesn't know it."""
    resource, _, name = place.partition("/")
    inventory = control_plane.catalog.inventory
    problems = control_plane.change.problems if control_plane.change else {}
    problem = problems.get(place)
    if problem is not None:
        text = str(problem)
        conflict = text == str(control_plane.catalog.conflicts.get(place))
        return Verdict(problem=text.removeprefix(f"{place}: "), conflict=conflict)
    if resource == "edgeclouds":
        cloud = inventory.get(name)
        if cloud is None:
            return None
        types = inventory.service_types.types
        return Verdict(
            undeclared=tuple(word for word in further_services(cloud) if word not in types),
            has_listeners=cloud.front is not None or cloud.peer is not None,
        )
    known = {
        "cordons": inventory.cordon_reason(name) is not None,
        "servicetypes": inventory.service_type(name) is not None,
    }
    return Verdict() if known.get(resource) else None


def replica_name(host: str) -> str:
    """Return the name of a replica for a host name: of the characters that objects' names have."""
    return re.sub(r"[^a-z0-9]+", "-", host.lower())[:MAX_HOST].strip("-") or "replica"


def _own_namespace() -> str | None:
    try:
        return NAMESPACE_FILE.read_text().strip() or None
    except OSError:
        return None
