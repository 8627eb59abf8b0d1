"""The registry with a real API server: what it reads, and what it is refused."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.kubernetes import ApiServer
from kubernetes_registry import (
    MANAGER,
    clear,
    client_of,
    first,
    grant,
    hold,
    holds,
    in_pod,
    make_account,
    put_cloud,
    registry_of,
    spoil,
    wait_for,
    write_account,
)
from registry_model import a_cloud, reading
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.kubernetes_api import paths
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl
from scopeway.control_plane.registry import RegistryUnavailable
from scopeway.control_plane.registry.kubernetes.registry import KubernetesRegistry

pytestmark = pytest.mark.asyncio

MakeApiServer = Callable[..., ApiServer]


@pytest.fixture
def server(definitions_only: ApiServer) -> ApiServer:
    clear(definitions_only)
    return definitions_only


async def test_what_kubernetes_adds_to_an_object_is_not_read(server: ApiServer) -> None:
    async with client_of(server) as client, reading(registry_of(server.kubeconfig)) as reader:
        await put_cloud(client, "a", 1, own="x")
        await reader.until(lambda: reader.inventory.get("a") is not None)
        before = len(reader.batches)
        metadata = {"labels": {"helm.sh/chart": "x"}, "annotations": {"any": "x"}}
        await client.merge_patch(f"{paths.EDGE_CLOUDS}/a", {"metadata": metadata})
        await put_cloud(client, "b", 1)
        await reader.until(lambda: reader.inventory.get("b") is not None)

        assert reader.inventory.get("a") == a_cloud("a", port=1, own="x")
        assert len(reader.batches) == before + 1
        assert not reader.problems


async def test_an_object_of_the_deepest_nesting_that_is_stored_is_refused_alone(
    server: ApiServer,
) -> None:
    levels = "[" * 9_990 + "]" * 9_990
    head = '"apiVersion": "scopeway.io/v1alpha1", "kind": "EdgeCloud", "metadata": {"name": "deep"}'
    text = f'{{{head}, "spec": {{"strange": {levels}}}}}'
    server.kubectl("create", "--raw", paths.EDGE_CLOUDS, "-f", "-", text=text)
    async with client_of(server) as client, reading(registry_of(server.kubeconfig)) as reader:
        await put_cloud(client, "a", 1)
        await reader.until(lambda: reader.inventory.get("a") is not None)
        metadata = {"labels": {"tier": "x"}}
        await client.merge_patch(f"{paths.EDGE_CLOUDS}/deep", {"metadata": metadata})
        await reader.until(lambda: "edgeclouds/deep" in reader.batches[-1].upserts)

        assert "strange" in reader.problems["edgeclouds/deep"]
        assert reader.names == {"a"}


async def test_a_service_type_is_read_from_its_object(server: ApiServer) -> None:
    sensor = {
        "apiVersion": paths.GROUP_VERSION,
        "kind": "ServiceType",
        "metadata": {"name": "sensor", "labels": {"any": "x"}},
        "spec": {"aliases": ["probe"]},
    }
    async with client_of(server) as client, reading(registry_of(server.kubeconfig)) as reader:
        await client.apply(f"{paths.SERVICE_TYPES}/sensor", sensor, manager=MANAGER)
        await reader.until(lambda: bool(reader.batches[-1].upserts))

    assert isinstance(reader.batches[-1].upserts["servicetypes/sensor"], ServiceType)


async def test_a_change_of_status_is_observed_and_yields_no_batch(server: ApiServer) -> None:
    registry = registry_of(server.kubeconfig)
    observed: list[set[str]] = []
    registry.on_observed = lambda places: observed.append(set(places))
    async with client_of(server) as client, reading(registry) as reader:
        await put_cloud(client, "a", 1)
        await reader.until(lambda: holds(reader, a=1))
        await wait_for(lambda: "edgeclouds/a" in registry.observed)
        before, batches = registry.observed["edgeclouds/a"], len(reader.batches)
        condition = {
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
        await client.merge_patch(
            f"{paths.EDGE_CLOUDS}/a", {"status": {"conditions": [condition]}}, "status"
        )
        await wait_for(lambda: registry.observed["edgeclouds/a"] is not before)

        now = registry.observed["edgeclouds/a"]
        assert (before.conditions, now.conditions) == ((), (condition,))
        assert (now.uid, now.generation) == (before.uid, 1)
        assert len(reader.batches) == batches
        await client.delete(f"{paths.EDGE_CLOUDS}/a")
        await wait_for(lambda: "edgeclouds/a" not in registry.observed)

    assert observed == [{"edgeclouds/a"}] * 3


async def test_a_changed_spec_is_observed_only_once_its_batch_was_applied(
    server: ApiServer,
) -> None:
    registry = registry_of(server.kubeconfig)
    async with client_of(server) as client:
        await put_cloud(client, "a", 1)
        batches = registry.watch()
        await anext(batches)
        waiting = asyncio.create_task(anext(batches))
        await wait_for(lambda: "edgeclouds/a" in registry.observed)
        await put_cloud(client, "a", 2)
        await waiting  # the batch is here, and not applied yet

        assert registry.observed["edgeclouds/a"].generation == 1
        waiting = asyncio.create_task(anext(batches))
        await wait_for(lambda: registry.observed["edgeclouds/a"].generation == 2)
        waiting.cancel()
        await asyncio.wait({waiting})
        await batches.aclose()


async def test_missing_definitions_are_refused_with_what_to_apply(
    make_api_server: MakeApiServer,
) -> None:
    server = make_api_server(ours=False)

    with pytest.raises(RegistryUnavailable) as caught:
        await first(registry_of(server.kubeconfig, patience=0.5))

    assert str(caught.value) == (
        f"kubernetes:{server.kubeconfig}?context=tests ({server.url}) cannot be read: does not "
        "know edgeclouds of scopeway.io/v1alpha1; install the custom resource definitions: "
        "kubectl apply -k deploy/crds"
    )


async def test_an_account_without_a_role_is_refused_with_the_right_to_grant(
    server: ApiServer,
) -> None:
    make_account(server, "nobody")

    with pytest.raises(RegistryUnavailable) as caught:
        await first(registry_of(server.kubeconfig_for("nobody"), patience=0.2))

    assert "denies access: edgeclouds.scopeway.io is forbidden" in str(caught.value)
    assert 'User "system:serviceaccount:default:nobody" cannot list' in str(caught.value)
    assert "; grant list on edgeclouds of scopeway.io to this user by a ClusterRole" in str(
        caught.value
    )


async def test_a_role_that_is_taken_away_and_given_back_is_told(server: ApiServer) -> None:
    make_account(server, "reader")
    grant(server, "reader")
    await hold(server, {"a": 1}, {})
    registry = registry_of(server.kubeconfig_for("reader"), probe_interval=0.1)
    async with reading(registry) as reader:
        await reader.until(lambda: holds(reader, a=1))
        server.kubectl("delete", "clusterrolebinding", "reader")
        await reader.until(lambda: reader.batches[-1].stale is not None)
        assert "denies access: edgeclouds.scopeway.io is forbidden" in str(reader.batches[-1].stale)
        assert reader.names == {"a"}
        grant(server, "reader")
        await hold(server, {"a": 2}, {})
        await reader.until(lambda: holds(reader, a=2))


async def test_a_token_file_that_is_renewed_is_used_by_the_next_connection(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token before is refused then: its account was deleted and made again."""
    make_account(server, "renewed")
    grant(server, "renewed")
    folder = write_account(server, "renewed", tmp_path)
    in_pod(monkeypatch, server)
    registry = KubernetesRegistry(KubernetesUrl(), patience=30, account=folder, probe_interval=0.1)
    async with reading(registry) as reader:
        server.kubectl("delete", "serviceaccount", "renewed")
        make_account(server, "renewed")
        await reader.until(lambda: reader.batches[-1].stale is not None)
        assert str(reader.batches[-1].stale) == (
            f"kubernetes: service account of this pod ({server.url}): denies access: it accepts "
            "neither a token nor a certificate of this login"
        )
        write_account(server, "renewed", tmp_path)
        await hold(server, {"a": 3}, {})
        await reader.until(lambda: holds(reader, a=3))


async def test_an_object_that_is_not_valid_keeps_the_last_good_one_and_is_named(
    server: ApiServer,
) -> None:
    await hold(server, {"a": 1}, {})
    async with reading(registry_of(server.kubeconfig)) as reader:
        await spoil(server, "a")
        await reader.until(lambda: bool(reader.problems))

        assert holds(reader, a=1)
        assert "edgeclouds/a" in reader.problems
        assert "methds" in reader.problems["edgeclouds/a"]


async def test_a_watch_that_the_api_server_ends_is_opened_again_and_never_stale(
    server: ApiServer,
) -> None:
    await hold(server, {"a": 1}, {})
    async with reading(registry_of(server.kubeconfig, watch_seconds=1)) as reader:
        for port in range(2, 6):
            await asyncio.sleep(0.6)  # several watches end meanwhile
            await hold(server, {"a": port}, {})
            await reader.until(lambda at=port: holds(reader, a=at))  # type: ignore[misc]

        assert all(batch.stale is None for batch in reader.batches)
