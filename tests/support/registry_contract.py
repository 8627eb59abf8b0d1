"""The behaviour that all registries share: each kind of registry runs these tests."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest

from registry_model import Reader, a_cloud, keeping, reading
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry import Registry

Clouds = Mapping[str, int]
"""Names to ports."""
Cordons = Mapping[str, str]


class Site(Protocol):
    """Where clouds stand, and what may happen to it."""

    async def open(self) -> Registry: ...

    async def hold(self, clouds: Clouds, cordons: Cordons) -> None:
        """Have it hold these and nothing else; in place, by changes."""

    async def spoil(self, name: str) -> None:
        """Write something bad in the place of a cloud."""

    async def go(self) -> None:
        """Be out of reach."""

    async def come_back(self, clouds: Clouds, cordons: Cordons) -> None:
        """Be in reach, set up anew with these."""

    async def close(self) -> None: ...


def entries(clouds: Clouds, cordons: Cordons) -> dict[str, Cloud | Cordon]:
    return {
        **{name: a_cloud(name, port=port) for name, port in clouds.items()},
        **{f"{name}/cordon": Cordon(name=name, reason=why) for name, why in cordons.items()},
    }


Reading = Callable[[Registry], AbstractAsyncContextManager[Reader]]


@pytest.fixture(params=["alone", "saved"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Reading:
    """Read a registry, with or without its last good clouds being saved."""
    if request.param == "alone":
        return reading
    return lambda registry: keeping(registry, tmp_path / "state", debounce=0)


def holds(reader: Reader, clouds: Clouds, cordons: Cordons) -> bool:
    """Return whether a reader surely knows these and no others."""
    known = {cloud.name: cloud for cloud in reader.inventory}
    return (
        reader.batches[-1].stale is None
        and known == {name: a_cloud(name, port=port) for name, port in clouds.items()}
        and dict(reader.inventory.cordons) == dict(cordons)
    )


class RegistryContract:
    """A test module inherits it, and has a fixture `site`."""

    async def test_every_registry_reports_a_complete_listing_and_then_each_change(
        self, site: Site, read: Reading
    ) -> None:
        await site.hold({"a": 1, "b": 1}, {"b": "why"})
        async with read(await site.open()) as reader:
            assert reader.batches[0].complete
            await reader.until(lambda: holds(reader, {"a": 1, "b": 1}, {"b": "why"}))
            await site.hold({"a": 2, "c": 1}, {"c": ""})
            await reader.until(lambda: holds(reader, {"a": 2, "c": 1}, {"c": ""}))
        await site.close()

    async def test_every_registry_follows_contents_that_changed_while_it_was_unreachable(
        self, site: Site, read: Reading
    ) -> None:
        """Even if the registry that returns looks like the one before."""
        await site.hold({"a": 1, "b": 1, "c": 1}, {"b": "old", "c": "old"})
        async with read(await site.open()) as reader:
            await reader.until(lambda: len(reader.names) == 3)
            await site.go()
            await reader.until(lambda: reader.batches[-1].stale is not None)
            assert reader.names == {"a", "b", "c"}
            assert reader.batches[-1].current_until is not None
            await site.come_back({"a": 2, "b": 1, "d": 1}, {"b": "new", "d": "new"})
            await reader.until(
                lambda: holds(reader, {"a": 2, "b": 1, "d": 1}, {"b": "new", "d": "new"})
            )
        await site.close()

    async def test_every_registry_holds_and_reports_a_mass_loss(
        self, site: Site, read: Reading
    ) -> None:
        clouds = {f"cloud-{number}": 1 for number in range(12)}
        await site.hold(clouds, {"cloud-1": "why"})
        async with read(await site.open()) as reader:
            await reader.until(lambda: len(reader.names) == 12)
            await site.go()
            await reader.until(lambda: reader.batches[-1].stale is not None)
            await site.come_back({"cloud-0": 2}, {})
            await reader.until(
                lambda: reader.inventory.get("cloud-0") == a_cloud("cloud-0", port=2)
            )
            await reader.until(lambda: len(reader.catalog.held) == 11)

            assert reader.names == clouds.keys()
            assert reader.inventory.cordon_reason("cloud-1") == "why"
            assert any(
                "was lost together with many others" in each for each in reader.problems.values()
            )
        await site.close()

    async def test_every_registry_keeps_the_last_good_version_of_a_bad_entry_over_an_outage(
        self, site: Site, read: Reading
    ) -> None:
        await site.hold({"a": 1, "b": 1}, {})
        async with read(await site.open()) as reader:
            await site.spoil("a")
            await reader.until(lambda: bool(reader.problems))
            assert reader.inventory.get("a") == a_cloud("a", port=1)
            await site.go()
            await reader.until(lambda: reader.batches[-1].stale is not None)
            assert reader.inventory.get("a") == a_cloud("a", port=1)
            await site.come_back({"a": 2}, {})
            await reader.until(lambda: holds(reader, {"a": 2}, {}))

            assert not reader.problems
        await site.close()
