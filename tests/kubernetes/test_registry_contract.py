"""The tests that every registry passes, with a real API server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.kubernetes import ApiServer
from kubernetes_registry import LineToApiServer, clear, hold, spoil
from registry_contract import Clouds, Cordons, RegistryContract, read
from scopeway.control_plane.registry import Registry

pytestmark = pytest.mark.asyncio

__all__ = ["read"]  # the fixture


class InKubernetes:
    """Its line is cut; meanwhile the objects change."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server = server
        self.line = LineToApiServer(server, folder)

    async def open(self) -> Registry:
        return await self.line.open()

    async def hold(self, clouds: Clouds, cordons: Cordons) -> None:
        await hold(self.server, clouds, cordons)

    async def spoil(self, name: str) -> None:
        await spoil(self.server, name)

    async def go(self) -> None:
        await self.line.cut()

    async def come_back(self, clouds: Clouds, cordons: Cordons) -> None:
        await self.hold(clouds, cordons)
        await self.line.resume()

    async def close(self) -> None:
        await self.line.cut()


@pytest.fixture
def site(definitions_only: ApiServer, tmp_path: Path) -> Iterator[InKubernetes]:
    clear(definitions_only)
    yield InKubernetes(definitions_only, tmp_path)
    clear(definitions_only)


class TestKubernetes(RegistryContract):
    """See `registry_contract`."""
