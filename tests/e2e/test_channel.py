"""Mutual TLS between Envoys and control planes, with real processes on both sides."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness.envoy import Envoy
from harness.http import Response, send
from harness.identities import Identities
from harness.process import until
from harness.stack import Etcd, ServeProcess, Stack
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.identity.authority import Step
from scopeway.control_plane.identity.files import IdentityFiles
from scopeway.control_plane.translator.bootstrap import bootstrap
from scopeway.xds.grpc_server.server import serve as serve_xds
from scopeway.xds.security import Certificates, Security
from scopeway.xds.type_urls import LISTENER
from xds_model import Store, write_request

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SECONDS = 10.0


@pytest.fixture(scope="module")
def identities(stack: Stack) -> Identities:
    stack.identities = Identities(stack.folder)
    return stack.identities


@pytest.fixture(scope="module")
def serve(stack: Stack, identities: Identities) -> ServeProcess:
    return stack.serve()


@pytest.fixture(scope="module")
def cloud(stack: Stack, serve: ServeProcess) -> Cloud:
    return stack.site("cloud-1", services={"image": stack.service("glance")})


def front(cloud: Cloud) -> int:
    assert cloud.front is not None
    return cloud.front.port


def listeners(envoy: Envoy) -> int:
    """How many listeners an Envoy has got from a control plane."""
    return envoy.stats("listener_manager.")["listener_manager.listener_added"]


def handshakes(envoy: Envoy) -> int:
    """How many connections with TLS an Envoy has made to control planes."""
    name = "cluster.control_plane.ssl.handshake"
    return envoy.stats(name)[name]


def ended(serve: ServeProcess, status: str) -> float:
    return serve.metrics().get(f"xds_streams_ended_total{{{status}}}", 0)


def ask(serve: ServeProcess, credentials: grpc.ChannelCredentials | None, cloud: str) -> str:
    """Ask for the listeners of a cloud as any gRPC client can; return the status and why."""
    target = f"localhost:{serve.xds_port}"
    with (
        grpc.insecure_channel(target)
        if credentials is None
        else grpc.secure_channel(target, credentials)
    ) as channel:
        request = write_request(LISTENER, node=(f"{cloud}/envoy", cloud))
        call = channel.stream_stream(METHOD)(iter([request]), timeout=SECONDS)
        with suppress(grpc.RpcError):
            list(call)
        return f"{call.code().name}: {call.details()}"


def credentials(files: IdentityFiles, believes: IdentityFiles) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        believes.authorities.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
    )


def test_an_envoy_gets_the_resources_of_the_cloud_in_its_certificate(
    stack: Stack, cloud: Cloud
) -> None:
    response = send(front(cloud), "/image/v2/images")

    assert response.status == 200
    assert listeners(stack.envoys["cloud-1"]) > 0
    assert stack.envoys["cloud-1"].stats("cluster.control_plane.ssl.")[
        "cluster.control_plane.ssl.handshake"
    ]


def test_an_envoy_does_not_get_the_resources_of_another_cloud(
    stack: Stack, cloud: Cloud, serve: ServeProcess, identities: Identities
) -> None:
    """The Envoy claims to be cloud-1 in node.id and node.cluster; its certificate is of cloud-2."""
    before = ended(serve, "PERMISSION_DENIED")
    forged = stack.start_envoy("cloud-1", name="forged", channel=identities.channel("cloud-2"))
    serve.wait_until(lambda: ended(serve, "PERMISSION_DENIED") > before, "it is denied")

    reason = "claims the cloud 'cloud-1', but its certificate is that of cloud-2"
    assert listeners(forged) == 0
    assert reason in serve.log()
    assert reason in forged.log()
    assert "forged" not in {each["node"] for each in serve.status()["streams"]}


@pytest.mark.parametrize(
    ("who", "told"),
    [
        (
            "another cloud",
            "PERMISSION_DENIED: node 'cloud-1/envoy' claims the cloud 'cloud-1', but ",
        ),
        ("a control plane", "PERMISSION_DENIED: node 'cloud-1/envoy' claims the cloud 'cloud-1', "),
        ("another authority's cloud-1", "UNAVAILABLE: "),
        ("nobody", "UNAVAILABLE: "),
        ("plain text", "UNAVAILABLE: "),
    ],
)
def test_listeners_of_a_cloud_are_served_to_no_other_certificate(
    stack: Stack, cloud: Cloud, serve: ServeProcess, identities: Identities, who: str, told: str
) -> None:
    ours = identities.of(None)
    match who:
        case "another cloud":
            shown = credentials(identities.of("cloud-2"), ours)
        case "a control plane":
            shown = credentials(ours, ours)
        case "another authority's cloud-1":
            folder = stack.folder / "other"
            folder.mkdir()
            shown = credentials(Identities(folder).of("cloud-1"), ours)
        case "nobody":
            shown = grpc.ssl_channel_credentials(ours.authorities.read_bytes())
        case _:
            shown = None

    assert ask(serve, shown, "cloud-1").startswith(told)


def test_grpc_logs_a_failed_handshake_when_its_verbosity_is_raised(
    stack: Stack, identities: Identities
) -> None:
    """docs/identities.md refers operators to this log."""
    serve = stack.serve(start=False)
    serve.command = ["env", "GRPC_VERBOSITY=INFO", *serve.command]
    serve.start()
    folder = stack.folder / "stranger"
    folder.mkdir()
    ours = identities.of(None)
    nobody = grpc.ssl_channel_credentials(ours.authorities.read_bytes())
    stranger = credentials(Identities(folder).of("cloud-1"), ours)

    for shown, why in (
        (nobody, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        (stranger, "CERTIFICATE_VERIFY_FAILED"),
        (None, "WRONG_VERSION_NUMBER"),
    ):
        assert ask(serve, shown, "cloud-1").startswith("UNAVAILABLE: ")
        line = re.compile(f"Handshake failed with error .*{why}")
        serve.wait_until(lambda line=line: line.search(serve.log()), why)


def test_an_envoy_trusts_only_control_planes_of_its_trust_domain(
    stack: Stack, cloud: Cloud, identities: Identities
) -> None:
    """The server has a certificate of the right authority, but that of a site."""
    files = identities.of("cloud-2")
    certificates = Certificates(
        certificate=files.certificate.read_bytes(),
        key=files.key.read_bytes(),
        authorities=files.authorities.read_bytes(),
    )
    security = Security(certificates=certificates)
    serving = serve_xds(Store(), listen="127.0.0.1:0", security=security)
    port = stack.background.run(serving.__aenter__()).port
    try:
        channel = identities.channel("cloud-3")
        config = bootstrap(
            cloud="cloud-3", xds=[("127.0.0.1", port)], admin=("127.0.0.1", 0), channel=channel
        )
        envoy = stack.run_envoy("cloud-3", config)
        name = "cluster.control_plane.ssl.fail_verify_san"
        until(lambda: envoy.stats(name)[name] > 0, "it is not believed", log=envoy.tail)

        assert listeners(envoy) == 0
    finally:
        stack.background.run(serving.__aexit__(None, None, None))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--xds-listen", "0.0.0.0:0"],
            "any client that reaches 0.0.0.0:0 could read the clusters",
        ),
        (["site"], "bears spiffe://tests.example/cloud/cloud-2, not spiffe://tests.example/con"),
        (["--tls-key", "/nowhere"], "/nowhere cannot be read: No such file or directory"),
    ],
)
def test_a_control_plane_with_unsafe_or_useless_options_does_not_start(
    stack: Stack, identities: Identities, options: list[str], sentence: str
) -> None:
    refused = stack.serve(start=False)
    files = identities.of("cloud-2")
    if options == ["site"]:
        options = ["--tls-cert", str(files.certificate), "--tls-key", str(files.key)]
    if "--xds-listen" in options:  # without the identities of the stack
        refused.command = [*refused.command[: refused.command.index("--tls-cert")]]
    refused.command += options
    refused.launch()

    assert refused.wait() == 1
    (line,) = refused.log().splitlines()
    assert sentence in line


class Load:
    """Requests without a pause: one target that is known, and one that nobody has named yet."""

    def __init__(self, port: int) -> None:
        self.answers: list[Response] = []
        self._port = port
        self._over = threading.Event()

    def __call__(self) -> None:
        while not self._over.is_set():
            unknown = f"{{glance:nowhere-{len(self.answers)}}}"
            self.answers.append(send(self._port, "/image/v2/images"))
            self.answers.append(send(self._port, "/image/v2/images", [("X-Scope", unknown)]))
            time.sleep(0.02)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self, name="load")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


def test_certificates_of_the_channel_and_their_authority_are_replaced_under_load(
    stack: Stack, cloud: Cloud, serve: ServeProcess, identities: Identities
) -> None:
    """The three steps of a rotation, with all leaves replaced in the second."""
    envoy = stack.envoys["cloud-1"]
    load = Load(front(cloud))
    taken = 0

    def everybody_has_the_new_ones() -> None:
        nonlocal taken
        taken += 1
        line = "tls.crt reloaded, valid until"
        serve.wait_until(lambda: serve.log().count(line) == taken, "the control plane has it")

    with load.running():
        identities.issue(None)
        everybody_has_the_new_ones()
        identities.issue("cloud-1")
        assert ended(serve, "UNAUTHENTICATED") == 0
        for step in Step:
            before = handshakes(envoy)
            assert identities.rotate() is step
            everybody_has_the_new_ones()
        # it had come with a certificate of the authority that is gone
        serve.wait_until(lambda: ended(serve, "UNAUTHENTICATED") == 1, "the old stream has ended")
        serve.wait_until(lambda: handshakes(envoy) > before, "the Envoy has come back")
        serve.wait_until(lambda: serve.serves(envoy), "with its new certificate")
        sent = len(load.answers)
        serve.wait_until(lambda: len(load.answers) > sent + 10, "more requests")

    assert {each.status for each in load.answers[::2]} == {200}
    assert {each.status for each in load.answers[1::2]} == {404}


def test_the_admin_address_and_the_logs_contain_no_secret(
    stack: Stack, cloud: Cloud, identities: Identities
) -> None:
    """Neither the registry's password nor a key nor a token, whoever asks, at the level of debug.

    With an Envoy that is served, and after etcd has gone: what cannot be reached is named.
    """
    folder = stack.folder / "secrets"
    folder.mkdir()
    etcd = Etcd(folder).start()
    etcd.put([cloud])
    registry = etcd.url.replace("etcd://", "etcd://user:s3cr3t%2Bword@")
    options = identities.serve_options()
    serve = ServeProcess(registry, stack.folder, *options, "--log-level", "debug", name="secrets")
    try:
        serve.start()
        envoy = stack.start_envoy("cloud-1", serve, name="secrets-envoy")
        serve.wait_until(lambda: serve.serves(envoy), "the Envoy is served")
        identities.issue(None)
        serve.wait_until(
            lambda: "tls.crt reloaded, valid until" in serve.log(), "it has the new one"
        )
        told = [_all_that_is_told(serve)]
        etcd.kill()
        serve.wait_until(lambda: serve.status()["stale"], "etcd is missed")
        told.append(_all_that_is_told(serve))
    finally:
        serve.kill()
        etcd.kill()

    assert f"127.0.0.1:{etcd.port}" in serve.log()
    for text in told:
        assert "DEBUG" in text
        assert not [each for each in _secrets(identities) if each in text]


def _all_that_is_told(serve: ServeProcess) -> str:
    """What each path of the admin address answers, commands as well, and the log."""
    paths = ("/healthz", "/readyz", "/metrics", "/status", "/", "/nowhere", "/release")
    answers = [serve.get(path) for path in paths]
    json = [("Content-Type", "application/json")]
    answers += [
        send(serve.admin_port, "/release", json, method="POST", body=body, host="localhost")
        for body in (b"{", b"[]", b'{"clouds": ["nowhere"]}')
    ]
    return "\n".join([serve.log(), *(f"{each.headers}{each.body!r}" for each in answers)])


def _secrets(identities: Identities) -> list[str]:
    """The password in both spellings, and the key: a line of its PEM, and its number."""
    text = identities.of(None).key.read_text()
    key = load_pem_private_key(text.encode(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    number = key.private_numbers().private_value
    lines = [line for line in text.splitlines() if "-" not in line]
    return ["s3cr3t", "PRIVATE KEY", *lines, str(number), f"{number:x}"]
