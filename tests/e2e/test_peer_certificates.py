"""Certificates of sites are renewed, and their authority is rotated, while requests go on."""

import ssl
import threading
from dataclasses import replace
from itertools import count

import pytest

from harness.certificates import Sites
from harness.envoy import version
from harness.fleet import Fleet
from harness.http import Connection, send
from harness.http2 import Refused, send2
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.identity.authority import Step

pytestmark = pytest.mark.fleet(certificates=True)

MOST_ATOMS = 32


class Load:
    """A client that never stops, and names a target that needs a new connection now and then."""

    def __init__(self, port: int, *, every: int = 10) -> None:
        """Name a new target for each so many requests."""
        self._every = every
        self.statuses: list[int] = []
        self._numbers = count()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(port,))

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self, port: int) -> None:
        with Connection(port) as connection:
            while not self._end.is_set():
                scope = f"{{image:{self._spelling(next(self._numbers) // self._every)}}}"
                self.statuses.append(connection.send("/image/v2", [("X-Scope", scope)]).status)

    @staticmethod
    def _spelling(number: int) -> str:
        """Return a name of cloud-2 that hasn't been used before: a cluster of its own."""
        depth, times = divmod(number, MOST_ATOMS)
        cloud = "(" * (depth % 30) + "cloud-2" + ")" * (depth % 30)
        return "|".join([cloud] + ["cloud-2"] * (times % MOST_ATOMS))


@pytest.fixture(scope="module")
def clouds(fleet: Fleet) -> tuple[Cloud, Cloud]:
    accept = [{"clouds": ["cloud-1", "cloud-9"]}]
    return (
        fleet.site("cloud-1", services={"image": fleet.service("glance-1")}),
        fleet.site("cloud-2", services={"image": fleet.service("glance-2")}, accept=accept),
    )


def loaded(fleet: Fleet, sites: Sites, clouds: tuple[Cloud, Cloud]) -> bool:
    """Whether both Envoys use what stands in their files now."""
    if version() < (1, 40) and len(sites.trusted(clouds[0].name)) > 1:
        pytest.skip("/certs of this Envoy shows the first authority only: docs/envoy.md")

    def uses(cloud: Cloud) -> bool:
        (found,) = fleet.envoys[cloud.name].admin("/certs").json["certificates"][:1]
        serials = {int(each["serial_number"], 16) for each in found["cert_chain"]}
        trusted = {
            int(each["serial_number"], 16)
            for context in fleet.envoys[cloud.name].admin("/certs").json["certificates"]
            for each in context["ca_cert"]
        }
        return serials == {sites.serial(cloud.name)} and trusted == sites.trusted(cloud.name)

    return fleet.eventually(lambda: all(uses(each) for each in clouds))


def answers(port: int, context: ssl.SSLContext) -> bool:
    try:
        return send2(port, "/image/v2", tls=context).status == 200
    except Refused:
        return False


def test_certificates_of_sites_and_their_authority_are_replaced_under_load(
    fleet: Fleet, clouds: tuple[Cloud, Cloud]
) -> None:
    first, second = clouds
    sites = fleet.sites
    assert sites
    assert first.front
    assert second.peer
    of_the_first_authority = sites.client("cloud-9")
    assert answers(second.peer.port, of_the_first_authority)

    with Load(first.front.port) as load:
        sites.renew()
        assert loaded(fleet, sites, clouds)
        steps = []
        for _ in Step:
            before = len(load.statuses)
            steps.append(sites.rotate())
            assert loaded(fleet, sites, clouds)
            assert fleet.eventually(lambda before=before: len(load.statuses) > before + 100)

    assert steps == list(Step)
    assert set(load.statuses) == {200}
    assert not answers(second.peer.port, of_the_first_authority)
    assert answers(second.peer.port, sites.client("cloud-9"))


def test_an_expired_certificate_is_refused_by_a_peer(
    fleet: Fleet, clouds: tuple[Cloud, Cloud]
) -> None:
    _, second = clouds
    sites = fleet.sites
    assert sites
    assert second.peer
    sites.let_expire("cloud-9")
    assert not answers(second.peer.port, sites.client("cloud-9"))

    sites.renew()
    assert answers(second.peer.port, sites.client("cloud-9"))


def test_a_mismatched_key_is_ignored_and_targets_in_use_go_on(
    fleet: Fleet, clouds: tuple[Cloud, Cloud]
) -> None:
    """A key that isn't the certificate's: targets in use go on, with what there was."""
    first, _ = clouds
    sites = fleet.sites
    assert sites
    assert first.front
    sites.break_key("cloud-1")

    with Load(first.front.port, every=1_000_000) as load:
        assert fleet.eventually(lambda: len(load.statuses) > 200)
    assert set(load.statuses) == {200}

    sites.renew()
    assert loaded(fleet, sites, clouds)


def test_a_target_refused_because_of_a_mismatched_key_is_served_on_a_new_stream(
    fleet: Fleet, clouds: tuple[Cloud, Cloud]
) -> None:
    """Envoy doesn't name it again on the old one, and what it rejected isn't sent unasked."""
    first, second = clouds
    sites = fleet.sites
    assert sites
    assert first.front
    envoy, scope = fleet.envoys["cloud-1"], "{compute:cloud-2}"
    failed = "sds.identity.key_rotation_failed"
    before = envoy.stats("sds.identity")[failed]
    services = {**second.services, "compute": second.services["image"]}
    fleet.control_plane.put(replace(second, services=services))
    sites.break_key("cloud-1")
    assert fleet.eventually(lambda: envoy.stats("sds.identity")[failed] > before)

    refused = send(first.front.port, "/compute/v2", [("X-Scope", scope)])
    assert refused.status == 503
    assert "the control plane did not answer" in refused.error["message"]
    rejected = fleet.control_plane.rejected
    assert fleet.eventually(lambda: "KEY_VALUES_MISMATCH" in "".join(rejected("cloud-1").values()))
    assert set(rejected("cloud-1")) == {"compute@cloud-2"}

    sites.renew()
    assert loaded(fleet, sites, clouds)
    fleet.control_plane.stop()
    fleet.control_plane.start()
    assert fleet.eventually(
        lambda: send(first.front.port, "/compute/v2", [("X-Scope", scope)]).status == 200
    )
