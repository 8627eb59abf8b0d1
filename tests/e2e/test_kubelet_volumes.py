"""A renewed Secret of cert-manager in a pod: taken by real processes, without a restart.

kubelet does not run here. `write_volume` lays the files as it does, by the names that cert-manager
gives them.
"""

import socket
from pathlib import Path

import pytest
from cryptography import x509

from harness.envoy import Envoy
from harness.http import Response, send
from harness.identities import TRUST_DOMAIN, Identities
from harness.kubelet_volumes import write_volume
from harness.process import until
from harness.stack import ServeProcess, Stack
from identity_files import in_folder
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.identity.authority import Step
from scopeway.control_plane.identity.files import AUTHORITIES, CERTIFICATE, KEY
from scopeway.control_plane.translator.bootstrap import Channel
from scopeway.control_plane.translator.node_identity import SiteIdentity
from scopeway.control_plane.translator.sds_files import sds_files

NAMES = (CERTIFICATE, KEY, AUTHORITIES)


class Pods(Identities):
    """Sites and control planes that have their certificates in volumes of their pods."""

    def __init__(self, folder: Path) -> None:
        self._volumes = folder / "volumes"
        super().__init__(folder)

    def volume(self, cloud: str | None) -> Path:
        return self._volumes / (cloud or "control-plane")

    def renew_secret(self, cloud: str | None) -> int:
        """Issue a certificate, and bring it into the pod; return its number."""
        self.issue(cloud)
        self.bring_secret(cloud)
        return self.number(cloud)

    def number(self, cloud: str | None) -> int:
        """Return the number of the certificate that was issued last."""
        text = self.of(cloud).certificate.read_bytes()
        return x509.load_pem_x509_certificate(text).serial_number

    def bring_secret(self, cloud: str | None) -> None:
        source = self.of(cloud).certificate.parent
        write_volume(self.volume(cloud), {name: (source / name).read_bytes() for name in NAMES})

    def serve_options(self) -> list[str]:
        files = in_folder(self.volume(None))
        return [
            *("--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
            *("--tls-ca", str(files.authorities), "--trust-domain", TRUST_DOMAIN),
        ]

    def channel(self, cloud: str) -> Channel:
        """Return the channel of an Envoy whose SDS files are a ConfigMap."""
        files = in_folder(self.volume(cloud))
        identity = SiteIdentity(
            certificate=str(files.certificate),
            key=str(files.key),
            authorities=str(files.authorities),
        )
        bootstrap = self._volumes / f"{cloud}-bootstrap"
        write_volume(bootstrap, {name: text.encode() for name, text in sds_files(identity).items()})
        return Channel(identity=identity, sds_folder=str(bootstrap), trust_domain=TRUST_DOMAIN)


@pytest.fixture(scope="module")
def identities(stack: Stack) -> Pods:
    stack.identities = pods = Pods(stack.folder)
    for cloud in (None, "cloud-1", "cloud-2"):
        pods.renew_secret(cloud)
    return pods


@pytest.fixture(scope="module")
def serve(stack: Stack, identities: Pods) -> ServeProcess:
    return stack.serve()


@pytest.fixture(scope="module")
def clouds(stack: Stack, serve: ServeProcess) -> tuple[Cloud, Cloud]:
    accept = [{"clouds": ["cloud-1"]}]
    services = {"image": stack.service("glance")}
    return stack.site("cloud-1"), stack.site("cloud-2", services=services, accept=accept)


def ask(clouds: tuple[Cloud, Cloud]) -> Response:
    """Send a request from cloud-1 to cloud-2, over mutual TLS."""
    front = clouds[0].front
    assert front is not None
    return send(front.port, "/image/v2/images", [("X-Scope", "{glance:cloud-2}")])


def shown_by(port: int, identities: Pods) -> int:
    """Return the number of the certificate that a server shows to a new connection."""
    context = identities.client("cloud-1")
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain) as connection,
    ):
        found = connection.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found).serial_number


def numbers_of(envoy: Envoy) -> set[int]:
    """Return the numbers of the certificates of its own that an Envoy uses."""
    certificates = envoy.admin("/certs").json["certificates"]
    return {
        int(chain["serial_number"], 16) for each in certificates for chain in each["cert_chain"]
    }


def wait_for_certificate(envoy: Envoy, number: int) -> None:
    envoy.wait_until(lambda: numbers_of(envoy) == {number}, "it uses this certificate alone")


def test_the_control_plane_takes_a_renewed_secret(
    clouds: tuple[Cloud, Cloud], serve: ServeProcess, identities: Pods
) -> None:
    before = shown_by(serve.xds_port, identities)
    renewed = identities.renew_secret(None)

    assert renewed != before
    serve.wait_until(
        lambda: shown_by(serve.xds_port, identities) == renewed, "it shows the new certificate"
    )


def test_an_envoy_takes_a_renewed_secret(
    stack: Stack, clouds: tuple[Cloud, Cloud], serve: ServeProcess, identities: Pods
) -> None:
    """For its peer, for its connections to other peers, and for its control plane."""
    assert ask(clouds).status == 200
    peer = clouds[1].peer
    assert peer is not None
    renewed = {cloud: identities.renew_secret(cloud) for cloud in ("cloud-1", "cloud-2")}

    until(lambda: shown_by(peer.port, identities) == renewed["cloud-2"], "the peer shows it")
    for cloud, number in renewed.items():
        wait_for_certificate(stack.envoys[cloud], number)
    assert ask(clouds).status == 200


def test_a_replaced_authority_comes_by_the_secrets(
    stack: Stack, clouds: tuple[Cloud, Cloud], serve: ServeProcess, identities: Pods
) -> None:
    """In three steps, each brought to all pods; a request passes after each."""
    everybody = (None, "cloud-1", "cloud-2")
    for step in Step:
        assert identities.rotate() is step
        for cloud in everybody:
            identities.bring_secret(cloud)
        renewed = identities.number(None)
        until(lambda: shown_by(serve.xds_port, identities) == renewed, "it is shown")  # noqa: B023
        for cloud in ("cloud-1", "cloud-2"):
            wait_for_certificate(stack.envoys[cloud], identities.number(cloud))
        assert ask(clouds).status == 200
