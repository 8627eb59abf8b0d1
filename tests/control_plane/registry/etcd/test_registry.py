import asyncio
import subprocess
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from harness.ports import free_port
from registry_model import Etcd, Forwarder, a_cloud, fill, reading
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry import RegistryUnavailable, open_registry, open_store

pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

MakeEtcd = Callable[..., Etcd]


@pytest.fixture
def url(shared_etcd: Etcd, request: pytest.FixtureRequest) -> str:
    return f"etcd://{shared_etcd.endpoint}/{request.node.name}"


async def test_watching_etcd_lists_and_then_reports_every_change(url: str) -> None:
    store = open_store(url)
    await store.put(a_cloud("a"))
    async with reading(open_registry(url)) as reader:
        assert reader.names == {"a"}
        assert reader.batches[0].complete
        await store.put(a_cloud("b", port=1))
        await reader.until(lambda: reader.names == {"a", "b"})
        await store.put(a_cloud("b", port=2))
        await reader.until(lambda: reader.inventory.get("b") == a_cloud("b", port=2))
        await store.delete("a")
        await reader.until(lambda: reader.names == {"b"})


async def test_watching_etcd_reports_service_types_among_the_clouds(
    url: str, shared_etcd: Etcd
) -> None:
    key = f"/{url.rpartition('/')[2]}/clouds/_service-types/sensor"
    store = open_store(url)
    sensor = ServiceType(name="sensor", aliases=("probe",))
    await store.put(a_cloud("sensor"))
    await store.put_service_type(sensor)
    async with reading(open_registry(url)) as reader:
        assert reader.names == {"sensor"}
        assert reader.inventory.service_type("sensor") == sensor
        assert set(await store.service_types()) == {key}

        shared_etcd.control("put", key, "{")
        await reader.until(lambda: bool(reader.problems))
        assert reader.inventory.service_type("sensor") == sensor

        changed = ServiceType(name="sensor", protocol="openstack")
        await store.put_service_type(changed)
        await reader.until(lambda: reader.inventory.service_type("sensor") == changed)
        assert not reader.problems
        assert await store.delete_service_type("sensor")
        await reader.until(lambda: reader.inventory.service_type("sensor") is None)
        assert reader.names == {"sensor"}
        assert not await store.delete_service_type("sensor")
        assert await store.service_types() == {}


async def test_an_empty_etcd_gives_an_empty_listing(url: str) -> None:
    async with reading(open_registry(url)) as reader:
        assert reader.batches[0].complete
        assert reader.names == set()


async def test_entries_under_another_prefix_are_not_read(url: str) -> None:
    await open_store(f"{url}-other").put(a_cloud("a"))
    async with reading(open_registry(url)) as reader:
        await open_store(url).put(a_cloud("b"))
        await reader.until(lambda: reader.names == {"b"})

        places = [place for batch in reader.batches for place in batch.upserts]
        assert [place.rpartition("/")[2] for place in places] == ["b"]


async def test_a_bad_entry_in_etcd_is_reported_and_does_not_hide_others(
    url: str, shared_etcd: Etcd
) -> None:
    folder = f"/{url.rpartition('/')[2]}/clouds/"
    store = open_store(url)
    await store.put(a_cloud("a"))
    await store.put(a_cloud("b"))
    shared_etcd.control("put", f"{folder}c", "{")
    async with reading(open_registry(url)) as reader:
        shared_etcd.control("put", f"{folder}a", "[]")
        shared_etcd.control("put", f"{folder}d/e", "{}")
        await reader.until(lambda: len(reader.problems) == 3)

        assert reader.names == {"a", "b"}
        assert reader.problems[f"{folder}a"] == f"{folder}a: [] is not an object"
        assert "is not JSON" in reader.problems[f"{folder}c"]


async def test_a_listing_of_several_pages_is_complete(url: str) -> None:
    names = {f"cloud-{number}" for number in range(1_203)}
    await fill(url, map(a_cloud, names))
    async with reading(open_registry(url)) as reader:
        assert reader.names == names
    assert len(await open_store(url).list()) == 1_203


async def test_an_expired_lease_removes_the_cloud(url: str) -> None:
    await open_store(url).put(a_cloud("a"), lease_ttl=1)
    async with reading(open_registry(url)) as reader:
        assert reader.names == {"a"}
        await reader.until(lambda: reader.names == set())


async def test_an_entry_that_changes_all_the_time_does_not_delay_others(url: str) -> None:
    """Changes during the work on one form one batch, with the last value of each entry."""
    store = open_store(url)
    async with aclosing(open_registry(url).watch()) as batches:
        await anext(batches)
        await store.put(a_cloud("a"))
        await anext(batches)  # it is being taken over
        for port in range(1, 101):
            await store.put(a_cloud("a", port=port))
        await store.put(a_cloud("b"))
        told = {}
        count = 0
        async with asyncio.timeout(30):
            while len(told) < 2:
                told |= {entry.name: entry for entry in (await anext(batches)).upserts.values()}
                count += 1

    assert told == {"a": a_cloud("a", port=100), "b": a_cloud("b")}
    assert count <= 5


async def test_a_change_held_by_the_pacer_is_reported_after_an_etcd_restart(
    make_etcd: MakeEtcd,
) -> None:
    etcd = make_etcd()
    url = f"etcd://{etcd.endpoint}"
    store = open_store(url)
    async with aclosing(open_registry(url).watch()) as batches:
        await anext(batches)
        await store.put(a_cloud("a"))
        (await anext(batches)).report_cost(0.05)  # it rests for 0.5 s
        await store.put(a_cloud("a", port=2))
        await store.put(a_cloud("b"))
        assert list((await anext(batches)).upserts) == ["/scopeway/clouds/b"]
        etcd.stop()
        await asyncio.to_thread(etcd.start)
        async with asyncio.timeout(30):
            async for batch in batches:
                if "/scopeway/clouds/a" in batch.upserts:
                    assert batch.upserts["/scopeway/clouds/a"] == a_cloud("a", port=2)
                    break


@pytest.mark.parametrize("others", ["", "127.0.0.1:1,"])
async def test_an_etcd_restart_neither_repeats_nor_misses_changes(
    make_etcd: MakeEtcd, others: str
) -> None:
    etcd = make_etcd()
    url = f"etcd://{others}{etcd.endpoint}"
    store = open_store(url)
    await store.put(a_cloud("a"))
    await store.put(a_cloud("b"))
    async with reading(open_registry(url)) as reader:
        etcd.stop()
        await reader.until(lambda: reader.batches[-1].stale is not None)
        assert reader.names == {"a", "b"}
        await asyncio.to_thread(etcd.start)
        await store.delete("a")
        await store.put(a_cloud("c"))
        await reader.until(lambda: reader.names == {"b", "c"})

        told = [place for batch in reader.batches[1:] for place in batch.upserts]
        assert told == ["/scopeway/clouds/c"]
        assert reader.batches[-1].stale is None


async def test_a_hanging_etcd_is_detected_and_watched_again(make_etcd: MakeEtcd) -> None:
    """Detection takes the 15 s of gRPC's keepalive."""
    etcd = make_etcd()
    store = open_store(f"etcd://{etcd.endpoint}")
    await store.put(a_cloud("a"))
    async with reading(open_registry(f"etcd://{etcd.endpoint}")) as reader:
        etcd.pause()
        await reader.until(lambda: reader.batches[-1].stale is not None)
        assert reader.names == {"a"}
        etcd.resume()
        await store.put(a_cloud("b"))
        await reader.until(lambda: reader.names == {"a", "b"})

        assert reader.batches[-1].stale is None


async def test_changes_compacted_during_an_outage_are_listed_again(make_etcd: MakeEtcd) -> None:
    etcd = make_etcd()
    forwarder = await Forwarder.start(etcd.port)
    url = f"etcd://127.0.0.1:{forwarder.port}"
    store = open_store(f"etcd://{etcd.endpoint}")
    for name in "abc":
        await store.put(a_cloud(name))
    async with reading(open_registry(url)) as reader:
        await forwarder.stop()
        await reader.until(lambda: reader.batches[-1].stale is not None)
        await store.delete("a")
        await store.put(a_cloud("b", port=1))
        await store.put(a_cloud("d"))
        revision = await asyncio.to_thread(
            etcd.control, "get", "x", "--consistency=l", "--write-out=fields"
        )
        number = next(line for line in revision.splitlines() if '"Revision"' in line).split()[-1]
        await asyncio.to_thread(etcd.control, "compact", number)
        await store.put(a_cloud("e"))
        await forwarder.resume()
        await reader.until(lambda: reader.names == {"b", "c", "d", "e"})

        told = {place[-1] for batch in reader.batches[1:] for place in batch.upserts}
        assert told == {"b", "d", "e"}
        assert reader.inventory.get("b") == a_cloud("b", port=1)
    await forwarder.stop()


async def test_another_etcd_at_the_same_address_is_listed_again(make_etcd: MakeEtcd) -> None:
    """For example, after the loss of all data: the revisions are lower and mean other changes."""
    old, new = make_etcd(), make_etcd("--initial-cluster-token=another")
    for name in "abcdef":
        await open_store(f"etcd://{old.endpoint}").put(a_cloud(name))
    await open_store(f"etcd://{new.endpoint}").put(a_cloud("z"))
    forwarder = await Forwarder.start(old.port)
    async with reading(open_registry(f"etcd://127.0.0.1:{forwarder.port}")) as reader:
        await forwarder.stop()
        forwarder.target = new.port
        await forwarder.resume()
        await reader.until(lambda: reader.names == {"z"})

        assert reader.batches[-1].stale is None
    await forwarder.stop()


async def test_an_unreachable_endpoint_beside_a_reachable_one_is_harmless(url: str) -> None:
    two = url.replace("etcd://", f"etcd://127.0.0.1:{free_port()},")
    await open_store(two).put(a_cloud("a"))
    async with reading(open_registry(two)) as reader:
        assert reader.names == {"a"}


async def test_an_etcd_endpoint_can_be_a_host_name(url: str) -> None:
    named = url.replace("127.0.0.1", "localhost")
    await open_store(named).put(a_cloud("a"))
    async with reading(open_registry(named)) as reader:
        assert reader.names == {"a"}


async def test_an_unreachable_etcd_is_unavailable_as_a_registry() -> None:
    url = f"etcd://127.0.0.1:{free_port()}"

    with pytest.raises(RegistryUnavailable, match=r"/scopeway cannot be read: .*refused"):
        async with reading(open_registry(url, patience=0.2)):
            pass
    with pytest.raises(RegistryUnavailable, match="refused"):
        await open_store(url).list()


async def test_watching_waits_for_an_etcd_that_starts_late(make_etcd: MakeEtcd) -> None:
    etcd = make_etcd()
    await open_store(f"etcd://{etcd.endpoint}").put(a_cloud("a"))
    etcd.stop()
    starting = asyncio.create_task(asyncio.to_thread(etcd.start))
    async with reading(open_registry(f"etcd://{etcd.endpoint}", patience=30)) as reader:
        assert reader.names == {"a"}
    await starting


async def test_etcd_users_are_authenticated_and_wrong_ones_refused(make_etcd: MakeEtcd) -> None:
    etcd = make_etcd()
    for words in (
        "user add root:secret",
        "user grant-role root root",
        "role add scopeway",
        "role grant-permission scopeway readwrite --prefix=true /scopeway/",
        "user add edge:p@ss",
        "user grant-role edge scopeway",
        "auth enable",
    ):
        etcd.control(*words.split())
    url = f"etcd://edge:p%40ss@{etcd.endpoint}"
    await open_store(url).put(a_cloud("a"))
    async with reading(open_registry(url)) as reader:
        await open_store(url).put(a_cloud("b"))
        await reader.until(lambda: reader.names == {"a", "b"})
        etcd.stop()
        await reader.until(lambda: reader.batches[-1].stale is not None)
        await asyncio.to_thread(etcd.start)
        await open_store(url).put(a_cloud("c"))
        await reader.until(lambda: reader.names == {"a", "b", "c"})
    for wrong, reason in (
        (f"etcd://edge:wrong@{etcd.endpoint}", "authentication failed"),
        (f"etcd://{etcd.endpoint}", "user name is empty"),
        (f"etcd://edge:p%40ss@{etcd.endpoint}/other", "permission denied"),
    ):
        with pytest.raises(RegistryUnavailable, match=reason):
            async with reading(open_registry(wrong)):
                pass


async def test_the_reason_why_etcd_is_unavailable_is_kept_up_to_date(make_etcd: MakeEtcd) -> None:
    """etcd is silent, then it refuses the password, then it is silent again."""
    etcd = make_etcd()
    line = await Forwarder.start(etcd.port)
    url = f"etcd://edge:secret@127.0.0.1:{line.port}"
    async with reading(open_registry(url)) as reader:

        def reason() -> str:
            return str(reader.batches[-1].stale)

        await line.stop()
        await reader.until(lambda: "is away: " in reason())
        assert "refused" in reason()
        for words in (
            "user add root:secret",
            "user grant-role root root",
            "user add edge:another",
            "auth enable",
        ):
            await asyncio.to_thread(etcd.control, *words.split())
        await line.resume()
        await reader.until(lambda: "denies access: authentication failed" in reason())
        assert "secret" not in reason()
        await line.stop()
        await reader.until(lambda: "is away: " in reason())

        assert len({batch.current_until for batch in reader.batches[1:]}) == 1
    await line.stop()


async def test_a_password_for_an_etcd_without_authentication_is_ignored(url: str) -> None:
    async with reading(open_registry(url.replace("etcd://", "etcd://me:secret@"))) as reader:
        assert reader.names == set()


async def test_watching_etcd_works_with_certificates_on_both_sides(
    make_etcd: MakeEtcd, tmp_path: Path
) -> None:
    certificates(tmp_path)
    etcd = make_etcd(
        f"--cert-file={tmp_path}/server.pem",
        f"--key-file={tmp_path}/server.key",
        f"--trusted-ca-file={tmp_path}/ca.pem",
        "--client-cert-auth",
        scheme="https",
    )
    base = f"etcd://{etcd.endpoint}?cacert={tmp_path}/ca.pem"
    url = f"{base}&cert={tmp_path}/client.pem&key={tmp_path}/client.key"
    async with reading(open_registry(url, patience=30)) as reader:
        await open_store(url).put(a_cloud("a"))
        await reader.until(lambda: reader.names == {"a"})
    for wrong in (base, f"etcd://{etcd.endpoint}"):
        with pytest.raises(RegistryUnavailable):
            async with reading(open_registry(wrong, patience=0.1)):
                pass
    with pytest.raises(RegistryUnavailable, match=r"nowhere\.pem cannot be read: No such file"):
        async with reading(open_registry(f"etcd://{etcd.endpoint}?cacert=nowhere.pem")):
            pass
    (tmp_path / "empty.pem").touch()
    with pytest.raises(RegistryUnavailable, match=r"empty\.pem contains no PEM block"):
        async with reading(open_registry(f"etcd://{etcd.endpoint}?cacert={tmp_path}/empty.pem")):
            pass


def certificates(folder: Path) -> None:
    """Make an authority, and a certificate of it for a server and for a client."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name in ("server", "client"):
        request = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("req", *key, *request)
        (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost")
        sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        paths = ("-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile", "extensions")
        openssl("x509", "-req", *paths, *sign)
