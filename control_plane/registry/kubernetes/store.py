"""Writes clouds as Kubernetes objects for the command line, and reads them back.

Writes by server-side apply, so that each field has an owner and nobody's field is lost unasked.
Each call of `Store` makes connections of its own.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.clouds.validators import name_problem
from scopeway.control_plane.kubernetes_api.client import ApiClient
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl
from scopeway.control_plane.registry.documents import to_plain
from scopeway.control_plane.registry.interface import (
    Declared,
    Entry,
    Place,
    RegistryUnavailable,
)
from scopeway.control_plane.registry.kubernetes.field_managers import (
    MANAGER,
    FieldPath,
    conflicts,
    foreign_fields,
    owners_sentence,
    removal,
)
from scopeway.control_plane.registry.kubernetes.objects import (
    CORDONS,
    EDGE_CLOUDS,
    RESOURCES,
    SERVICE_TYPES,
    Resource,
    entry_of,
)
from scopeway.control_plane.registry.kubernetes.refusals import refusal

T = TypeVar("T", Cloud, Cordon, ServiceType)

NO_TTL: Final = (
    "kubernetes: has no heartbeats, so --ttl cannot be used: an EdgeCloud stays until it is deleted"
)
REMEDY: Final = "change it there, or replace it with --force"


class KubernetesStore:
    """The store in one API server. Every method may raise RegistryUnavailable."""

    def __init__(self, url: KubernetesUrl) -> None:
        self._url = url

    async def refusals(self, values: Sequence[Declared], *, force: bool = False) -> Sequence[str]:
        """See `Store.refusals`: the API server and its admission policies judge each value."""
        problems: list[str] = []
        async with self._client() as client:
            for value in values:
                try:
                    await _apply(client, value, force=force, dry_run=True)
                except _Refused as error:
                    problems.append(str(error))
        return problems

    async def put(self, cloud: Cloud, *, lease_ttl: int | None = None, force: bool = False) -> None:
        """See `Store.put`."""
        if lease_ttl is not None:
            raise RegistryUnavailable(NO_TTL)
        await self._put(cloud, force=force)

    async def get(self, name: str) -> Cloud | None:
        """See `Store.get`."""
        return await self._get(EDGE_CLOUDS, name, Cloud)

    async def list(self) -> Mapping[Place, Entry]:
        """See `Store.list`."""
        return await self._list(*RESOURCES)

    async def delete(self, name: str) -> bool:
        """See `Store.delete`."""
        return await self._delete(EDGE_CLOUDS, name)

    async def cordon(self, cordon: Cordon) -> None:
        """See `Store.cordon`. Takes the reason over from every other field manager."""
        await self._put(cordon, force=True)

    async def cordoned(self, name: str) -> str | None:
        """See `Store.cordoned`."""
        found = await self._get(CORDONS, name, Cordon)
        return None if found is None else found.reason

    async def uncordon(self, name: str) -> bool:
        """See `Store.uncordon`."""
        return await self._delete(CORDONS, name)

    async def put_service_type(self, service_type: ServiceType, *, force: bool = False) -> None:
        """See `Store.put_service_type`."""
        await self._put(service_type, force=force)

    async def service_types(self) -> Mapping[Place, Entry]:
        """See `Store.service_types`."""
        return await self._list(SERVICE_TYPES)

    async def delete_service_type(self, name: str) -> bool:
        """See `Store.delete_service_type`."""
        return await self._delete(SERVICE_TYPES, name)

    async def close(self) -> None:
        """Do nothing: each call closes its connections."""

    async def _put(self, value: Declared, *, force: bool) -> None:
        async with self._client() as client:
            await _write(client, value, force=force)

    async def _get(self, resource: Resource, name: str, kind: type[T]) -> T | None:
        if name_problem(name) is not None:  # it would lead to another path
            return None
        async with self._client() as client:
            try:
                document = await client.get(f"{resource.path}/{name}")
            except ApiError as error:
                if error.is_missing:
                    return None
                raise
        _, entry = entry_of(resource, document)
        if isinstance(entry, InvalidCloud):
            raise entry
        return entry if isinstance(entry, kind) else None

    async def _list(self, *resources: Resource) -> Mapping[Place, Entry]:
        entries: dict[Place, Entry] = {}
        async with self._client() as client:
            for resource in resources:
                _, objects = await client.list_all(resource.path)
                entries.update(entry_of(resource, each) for each in objects)
        return entries

    async def _delete(self, resource: Resource, name: str) -> bool:
        if name_problem(name) is not None:
            return False
        async with self._client() as client:
            return await client.delete(f"{resource.path}/{name}")

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[ApiClient]:
        try:
            async with ApiClient(self._url) as client:
                yield client
        except ApiError as error:
            raise RegistryUnavailable(refusal(error) or str(error)) from None


class _Refused(RegistryUnavailable):
    """The API server refuses a value, and not the caller or the resource as such."""


async def _write(client: ApiClient, value: Declared, *, force: bool) -> None:
    """Make an object declare a value and nothing else.

    With `force`, fields of others are removed first: a rule of theirs is never beside a service of
    ours.

    Raises:
        _Refused: see `_apply`.
        ApiError: the API server cannot be used.
    """
    if force and (foreign := await _apply(client, value, force=True, dry_run=True)):
        await client.merge_patch(_path(value), removal(foreign), manager=MANAGER)
    await _apply(client, value, force=force, dry_run=False)


async def _apply(
    client: ApiClient, value: Declared, *, force: bool, dry_run: bool
) -> Mapping[FieldPath, str]:
    """Apply a value; return the fields that others own and it does not have.

    Raises:
        _Refused: the API server does not accept it, or, without `force`, others own fields of it.
        ApiError: the API server cannot be used.
    """
    document = to_plain(value)
    try:
        stored = await client.apply(
            _path(value), document, manager=MANAGER, force=force, dry_run=dry_run
        )
    except ApiError as error:
        if owned := conflicts(error.status):
            raise _Refused(f"{value.name}: {owners_sentence(owned)}; {REMEDY}") from None
        if sentence := refusal(error):
            raise _Refused(f"{value.name}: {sentence}") from None
        raise
    foreign = foreign_fields(document, stored, labels=_resource(value).has_labels)
    if foreign and not force:
        what = f"{owners_sentence(foreign)}, and not in this document"
        raise _Refused(f"{value.name}: {what}; {REMEDY}")
    return foreign


def _path(value: Declared) -> str:
    return f"{_resource(value).path}/{value.name}"


def _resource(value: Declared) -> Resource:
    if isinstance(value, Cordon):
        return CORDONS
    return SERVICE_TYPES if isinstance(value, ServiceType) else EDGE_CLOUDS
