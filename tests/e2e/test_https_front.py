"""Fronts with https: with a certificate of their own, or behind another TLS proxy."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from harness.certificates import Authority
from harness.fleet import Fleet
from harness.http import Connection, Response, send
from scopeway.control_plane.clouds.model import Cloud

CLOUDS = ["cloud-1", "cloud-2"]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where cloud-1 has its certificate."""
    return tmp_path_factory.mktemp("certificate")


@pytest.fixture(scope="module")
def site(fleet: Fleet, authority: Authority, folder: Path) -> Cloud:
    fleet.site(
        "cloud-2",
        services={"image": fleet.service("glance-2")},
        accept=[{"clouds": ["cloud-1", "cloud-3"]}],
    )
    return fleet.site(
        "cloud-1",
        ports=("image",),
        front={"tls": authority.write(folder, "front.example")},
        services={"image": fleet.service("glance-1")},
    )


def port(site: Cloud, service: str = "") -> int:
    assert site.front
    return site.front.ports[service] if service else site.front.port


def header(response: Response, name: str) -> list[str]:
    """The values of a header as the service got them."""
    return [value for key, value in response.json["headers"] if key == name]


def serial_number(port: int, authority: Authority) -> Any:
    with Connection(port, tls=authority.client()) as connection:
        assert isinstance(connection.socket, ssl.SSLSocket)
        certificate = connection.socket.getpeercert()
        assert certificate
        return certificate["serialNumber"]


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(
    ("service", "path", "prefix"), [("", "/image", ["/image"]), ("image", "", [])]
)
def test_services_behind_an_https_front_get_x_forwarded_proto_https(
    site: Cloud, authority: Authority, cloud: str, service: str, path: str, prefix: list[str]
) -> None:
    scope = [("X-Scope", f"{{image:{cloud}}}"), ("X-Forwarded-Proto", "http")]
    response = send(port(site, service), f"{path}/v2/images", scope, tls=authority.client())

    assert response.json["name"] == cloud.replace("cloud", "glance")
    assert header(response, "x-forwarded-proto") == ["https"]
    assert header(response, "x-forwarded-host") == ["front.example"]
    assert header(response, "x-forwarded-prefix") == prefix


@pytest.mark.parametrize("offered", ["h2", "http/1.1"])
def test_an_https_front_negotiates_http_1_and_http_2(
    site: Cloud, authority: Authority, offered: str
) -> None:
    context = authority.client()
    context.set_alpn_protocols([offered])
    with Connection(port(site), tls=context) as connection:
        assert isinstance(connection.socket, ssl.SSLSocket)
        assert connection.socket.selected_alpn_protocol() == offered


def test_an_https_front_refuses_old_tls_versions(site: Cloud, authority: Authority) -> None:
    context = authority.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 "):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 "):
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        Connection(port(site), tls=context)


def test_an_https_front_does_not_answer_plain_http(site: Cloud) -> None:
    with Connection(port(site)) as connection:
        connection.socket.sendall(b"GET /image/ HTTP/1.1\r\nHost: a\r\n\r\n")

        assert connection.socket.recv(100) == b""


def test_an_https_front_uses_a_renewed_certificate_without_a_restart(
    fleet: Fleet, site: Cloud, authority: Authority, folder: Path
) -> None:
    before = serial_number(port(site), authority)
    with Connection(port(site), tls=authority.client()) as old:
        assert old.send("/image/").status == 200
        authority.write(folder, "front.example")

        assert fleet.eventually(lambda: serial_number(port(site), authority) != before)
        assert old.send("/image/").status == 200
    assert serial_number(port(site, "image"), authority) != before


def test_an_https_front_keeps_the_last_good_certificate_if_the_new_one_is_damaged(
    fleet: Fleet, site: Cloud, authority: Authority, folder: Path
) -> None:
    good = serial_number(port(site), authority)
    refused = "sds.front.key_rotation_failed"
    envoy = fleet.envoys["cloud-1"]
    before = envoy.stats(refused)
    new = folder / "damaged"
    new.write_text("no certificate")
    new.rename(folder / "front.pem")

    assert fleet.eventually(lambda: envoy.stats(refused) != before)
    assert serial_number(port(site), authority) == good
    authority.write(folder, "front.example")
    assert fleet.eventually(lambda: serial_number(port(site), authority) != good)


def test_an_https_front_without_its_certificate_is_closed_and_the_peer_works(
    fleet: Fleet, site: Cloud, authority: Authority, tmp_path: Path
) -> None:
    files = {"certificate": str(tmp_path / "front.pem"), "key": str(tmp_path / "front.key")}
    cloud = fleet.site(
        "cloud-4",
        front={"tls": files},
        services={"image": fleet.service("glance-4")},
        accept=[{"clouds": ["cloud-1"]}],
    )
    context = authority.client()
    with pytest.raises(OSError, match=r"EOF|reset"):
        Connection(port(cloud), tls=context)
    scope = [("X-Scope", "{image:cloud-4}")]
    assert send(port(site), "/image/", scope, tls=context).json["name"] == "glance-4"

    authority.write(tmp_path, "front.example")
    assert fleet.eventually(lambda: _is_open(port(cloud), context))


def _is_open(port: int, context: ssl.SSLContext) -> bool:
    try:
        return send(port, "/image/", tls=context).status == 200
    except OSError:
        return False


def test_services_behind_another_tls_proxy_get_x_forwarded_proto_https(
    fleet: Fleet, site: Cloud
) -> None:
    cloud = fleet.site(
        "cloud-3",
        ports=("image",),
        front={"url": "https://cloud-3.example"},
        services={"image": fleet.service("glance-3")},
    )
    for number, path in ((port(cloud), "/image/"), (port(cloud, "image"), "/")):
        for name in ("cloud-3", "cloud-2"):
            response = send(number, path, [("X-Scope", f"{{image:{name}}}")])

            assert response.json["name"] == name.replace("cloud", "glance")
            assert header(response, "x-forwarded-proto") == ["https"]
