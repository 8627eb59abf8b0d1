"""Writes clouds into etcd for the command line, and reads them back.

Each call of `Store` makes a connection of its own.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aetcd import rpc

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry.documents import (
    CORDON_KEY,
    SERVICE_TYPES_KEY,
    parse_json,
    to_json,
)
from scopeway.control_plane.registry.etcd.client import EtcdError, Session, connect
from scopeway.control_plane.registry.etcd.registry import list_pages
from scopeway.control_plane.registry.etcd.url import EtcdUrl
from scopeway.control_plane.registry.interface import (
    Declared,
    Entry,
    Place,
    RegistryUnavailable,
)


class EtcdStore:
    """The store in one etcd. Every method may raise RegistryUnavailable."""

    def __init__(self, url: EtcdUrl) -> None:
        self._url = url
        self._folder = f"{url.prefix}/clouds/"

    async def refusals(self, values: Sequence[Declared], *, force: bool = False) -> Sequence[str]:
        """See `Store.refusals`: etcd stores every value."""
        return ()

    async def put(self, cloud: Cloud, *, lease_ttl: int | None = None, force: bool = False) -> None:
        """See `Store.put`. etcd knows no owners, so `force` changes nothing."""
        async with self._session() as session:
            lease = 0
            if lease_ttl is not None:
                grant = rpc.LeaseGrantRequest(TTL=lease_ttl)
                lease = (await session.call(session.lease.LeaseGrant, grant)).ID
            request = rpc.PutRequest(key=self._key(cloud.name), value=to_json(cloud), lease=lease)
            await session.call(session.kv.Put, request)

    async def get(self, name: str) -> Cloud | None:
        """See `Store.get`."""
        entry = await self._get(name)
        return entry if isinstance(entry, Cloud) else None

    async def cordoned(self, name: str) -> str | None:
        """See `Store.cordoned`."""
        entry = await self._get(f"{name}{CORDON_KEY}")
        return entry.reason if isinstance(entry, Cordon) else None

    async def list(self) -> Mapping[Place, Entry]:
        """See `Store.list`."""
        return await self._list("")

    async def service_types(self) -> Mapping[Place, Entry]:
        """See `Store.service_types`."""
        return await self._list(SERVICE_TYPES_KEY)

    async def _list(self, below: str) -> Mapping[Place, Entry]:
        entries: dict[Place, Entry] = {}
        async with self._session() as session:
            async for _, page in list_pages(session, f"{self._folder}{below}"):
                for kv in page:
                    place = kv.key.decode(errors="backslashreplace")
                    key = place.removeprefix(self._folder)
                    entries[place] = parse_json(kv.value, place, key=key)
        return entries

    async def delete(self, name: str) -> bool:
        """See `Store.delete`."""
        return await self._delete(self._key(name))

    async def cordon(self, cordon: Cordon) -> None:
        """See `Store.cordon`."""
        await self._put(f"{cordon.name}{CORDON_KEY}", cordon)

    async def uncordon(self, name: str) -> bool:
        """See `Store.uncordon`."""
        return await self._delete(self._key(f"{name}{CORDON_KEY}"))

    async def put_service_type(self, service_type: ServiceType, *, force: bool = False) -> None:
        """See `Store.put_service_type`."""
        await self._put(f"{SERVICE_TYPES_KEY}{service_type.name}", service_type)

    async def delete_service_type(self, name: str) -> bool:
        """See `Store.delete_service_type`."""
        return await self._delete(self._key(f"{SERVICE_TYPES_KEY}{name}"))

    async def close(self) -> None:
        """Do nothing: each call closes its connection."""

    async def _put(self, key: str, value: Declared) -> None:
        async with self._session() as session:
            request = rpc.PutRequest(key=self._key(key), value=to_json(value))
            await session.call(session.kv.Put, request)

    async def _get(self, key: str) -> Declared | None:
        async with self._session() as session:
            request = rpc.RangeRequest(key=self._key(key))
            found = (await session.call(session.kv.Range, request)).kvs
        if not found:
            return None
        entry = parse_json(found[0].value, f"{self._folder}{key}", key=key)
        if isinstance(entry, InvalidCloud):
            raise entry
        return entry

    async def _delete(self, key: bytes) -> bool:
        async with self._session() as session:
            request = rpc.DeleteRangeRequest(key=key)
            answer = await session.call(session.kv.DeleteRange, request)
        return bool(answer.deleted)

    def _key(self, name: str) -> bytes:
        return f"{self._folder}{name}".encode()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        try:
            async with connect(self._url) as session:
                yield session
        except EtcdError as error:
            raise RegistryUnavailable(f"{self._url}: {error}") from None
