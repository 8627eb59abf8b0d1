"""Clouds with real Envoys under a real control plane whose registry is a variable of the test."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import DataSource, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.google.protobuf import Any as AnyMessage

from harness.background import Background
from harness.certificates import Sites
from harness.envoy import Envoy
from harness.ports import free_port, free_ports
from harness.services import Services, at
from harness.source import one_by_one
from scopeway.control_plane.clouds.addresses import LOOPBACK, AllowedAddress
from scopeway.control_plane.clouds.declared_types import DeclaredTypes, declare
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.site_cache import SiteResources
from scopeway.control_plane.serving.source import ScopewaySource
from scopeway.control_plane.translator.bootstrap import bootstrap
from scopeway.control_plane.translator.node_identity import to_metadata
from scopeway.control_plane.translator.node_setup import Setup
from scopeway.control_plane.translator.site_resources import site_resources
from scopeway.xds.grpc_server.server import Server, serve
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.type_urls import CLUSTER, EXTENSION

EVENTUALLY = 10.0


def manifest(name: str, labels: Mapping[str, str] | None = None, **spec: Any) -> Cloud:
    """Return a cloud from the `spec` of its manifest."""
    metadata = {"name": name, "labels": dict(labels or {})}
    head = {"apiVersion": "scopeway.io/v1alpha1", "kind": "EdgeCloud", "metadata": metadata}
    return parse_manifest({**head, "spec": spec}, name)


def _lua_config(name: str, script: str) -> bytes:
    lua = Lua(default_source_code=DataSource(inline_string=script))
    return bytes(TypedExtensionConfig(name=name, typed_config=AnyMessage.pack(lua)))


class ControlPlane:
    """A control plane in this process; it can be stopped and started again at its port."""

    def __init__(
        self,
        background: Background,
        trust_domain: str | None = None,
        direct: tuple[AllowedAddress, ...] | None = LOOPBACK,
    ) -> None:
        self.port = 0
        self.trust_domain = trust_domain
        """Of the certificates of peers; None: they speak without TLS."""
        self.direct = direct
        """Where clouds without a peer may be."""
        self.inventory = Inventory()
        self.limits: SourceLimits | None = None
        """What one stream may use; looked at when it starts."""
        self._lua: str | None = None
        self._background = background
        self._hub = ChangeNotifier()
        self._source: ScopewaySource | None = None
        self._serving: AbstractAsyncContextManager[Server] | None = None
        self._server: Server | None = None

    def start(self) -> None:
        self.port = self._background.run(self._start())

    def stop(self) -> None:
        self._background.run(self._stop())

    def put(self, *clouds: Cloud, delete: tuple[str, ...] = ()) -> None:
        """Register clouds, and forget others."""
        self._background.call(partial(self._put, clouds, delete))

    def declare(self, *types: ServiceType) -> None:
        """Declare these service types, and no others."""
        self._background.call(partial(self._declare, types))

    def cordon(self, changes: Mapping[str, str | None]) -> None:
        """Cordon clouds, with a reason, or uncordon them (None)."""
        self._background.call(partial(self._cordon, changes))

    def rejected(self, cloud: str, type_url: str = CLUSTER) -> dict[str, str]:
        """Return the resources that a cloud's Envoys do not take, and in which words."""
        return self._background.call(partial(self._rejected, cloud, type_url))

    def policy_problems(self) -> Mapping[str, str]:
        """Return the sites whose policy lets nobody in, each with the reason."""
        assert self._source is not None
        return self._background.call(self._source.policy_problems)

    def replace_lua(self, script: str | None) -> None:
        """Give all sites another Lua filter; None gives them back their own."""
        self._lua = script
        self.put(*self.inventory)

    async def _start(self) -> int:
        self._hub = ChangeNotifier()
        self._source = ScopewaySource(
            inventory=self.inventory,
            notifier=self._hub,
            make_site=self._site_resources,
            settings=PlanSettings(direct=self.direct, trust_domain=self.trust_domain),
            limits=self.limits,
        )
        self._serving = serve(self._source, listen=f"127.0.0.1:{self.port}", notifier=self._hub)
        self._server = await self._serving.__aenter__()
        return self._server.port

    async def _stop(self) -> None:
        assert self._serving is not None
        await self._serving.__aexit__(None, None, None)
        self._serving = self._source = None

    def _rejected(self, cloud: str, type_url: str) -> dict[str, str]:
        assert self._server
        return {
            name: each.message
            for stream in self._server.statuses()
            for kind in stream.types
            for name, each in kind.rejected.items()
            if stream.node.cluster == cloud and kind.type_url == type_url
        }

    def _put(self, clouds: tuple[Cloud, ...], delete: tuple[str, ...]) -> None:
        self.inventory = self.inventory.apply({each.name: each for each in clouds}, delete)
        if self._source is not None:
            self._source.update(self.inventory, {*(each.name for each in clouds), *delete})

    def _declare(self, types: tuple[ServiceType, ...]) -> None:
        self.inventory = self.inventory.with_service_types(declare(types)[0])
        if self._source is not None:
            self._source.update(self.inventory, ())

    def _cordon(self, changes: Mapping[str, str | None]) -> None:
        self.inventory = self.inventory.with_cordons(changes)
        if self._source is not None:
            self._source.update(self.inventory, changes.keys())

    def _site_resources(self, cloud: Cloud, setup: Setup, types: DeclaredTypes) -> SiteResources:
        made = dict(
            site_resources(
                cloud,
                setup,
                trust_domain=self.trust_domain,
                types=types,
            )
        )
        if self._lua is not None:
            replaced = {
                name: _lua_config(name, self._lua)
                for name in made[EXTENSION]
                if name.startswith("lua/")
            }
            made[EXTENSION] = {**made[EXTENSION], **replaced}
        return one_by_one(made)


class Fleet(Services):
    """Everything that one module of tests needs; closes what it has started."""

    def __init__(
        self,
        folder: Path,
        *,
        sites: Sites | None = None,
        direct: tuple[AllowedAddress, ...] | None = LOOPBACK,
    ) -> None:
        """Start the control plane; with `sites`, the Envoys speak mutual TLS to each other."""
        super().__init__(folder)
        self.sites = sites
        trust_domain = sites.trust_domain if sites else None
        self.control_plane = ControlPlane(self.background, trust_domain, direct)
        self.control_plane.start()
        self._closing.callback(self._stop_control_plane)

    def free_port(self) -> int:
        return free_port()

    def nobody(self) -> dict[str, Any]:
        """Return a service of a manifest that nobody answers."""
        return {"endpoints": [at(self.free_port())]}

    def eventually(self, condition: Callable[[], bool]) -> bool:
        """Return whether something comes true; for what Envoy is told but does not confirm."""
        deadline = time.monotonic() + EVENTUALLY
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.02)
        return condition()

    def site(
        self,
        name: str,
        *,
        peer: bool = True,
        ports: tuple[str, ...] = (),
        collector: Path | None = None,
        cache_validations: bool = False,
        labels: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> Cloud:
        """Register a cloud with a front (and a peer), and start its Envoy.

        `collector`: the folder of the sockets that the Envoy shares with a collector, which may
        cache validations of tokens.
        """
        first, second, *rest = free_ports(2 + len(ports))
        own = {**at(first), "ports": dict(zip(ports, rest, strict=True))}
        spec["front"] = {**own, **spec.get("front", {})}
        if peer:
            spec["peer"] = at(second)
        cloud = manifest(name, labels, **spec)
        self.control_plane.put(cloud)
        self.start_envoy(
            name, collector=collector, cache_validations=cache_validations
        ).wait_ready()
        return cloud

    def collector_folder(self, cloud: str) -> Path:
        """Return a new folder for the sockets between a cloud's Envoy and its collector."""
        folder = self.folder / f"collector-{cloud}"
        folder.mkdir(mode=0o750)
        return folder

    def start_envoy(
        self, cloud: str, *, collector: Path | None = None, cache_validations: bool = False
    ) -> Envoy:
        config = bootstrap(
            cloud=cloud,
            xds=[("127.0.0.1", self.control_plane.port)],
            admin=("127.0.0.1", 0),
            collector=str(collector or ""),
            cache_validations=cache_validations,
        )
        if self.sites is not None:
            identity = to_metadata(self.sites.identity(cloud))
            config["node"]["metadata"]["scopeway"]["identity"] = identity
        return self.run_envoy(cloud, config)

    def _stop_control_plane(self) -> None:
        if self.control_plane._serving is not None:
            self.control_plane.stop()
