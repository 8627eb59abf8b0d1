"""Addresses in manifests are normalised, and ambiguous ones are refused."""

import pytest

from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.clouds.model import Cloud

UNSPECIFIED = ["0.0.0.0", "::", "0::0", "0:0::0", "0:0:0:0:0:0:0:0", "::0.0.0.0", "0000::"]


def cloud(
    *, front: dict[str, object], peer: str = "192.0.2.1", endpoint: str = "192.0.2.2"
) -> Cloud:
    document = {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "metadata": {"name": "cloud-9"},
        "spec": {
            "front": {"port": 8080, **front},
            "peer": {"address": peer, "bind": "192.0.2.1", "port": 8443},
            "services": {"image": {"endpoints": [{"address": endpoint, "port": 80}]}},
        },
    }
    return parse_manifest(document, "a.yaml")


def refusal(**addresses: object) -> tuple[str, str]:
    with pytest.raises(InvalidCloud) as caught:
        cloud(**{"front": {"address": "192.0.2.3"}, **addresses})  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    return problem.field, problem.reason


@pytest.mark.parametrize("address", UNSPECIFIED)
def test_an_unspecified_address_is_refused_as_a_destination(address: str) -> None:
    why = "can be listened on but not connected to; use it in bind"
    for field, found in (
        ("spec.front.address", refusal(front={"address": address, "bind": "192.0.2.3"})),
        ("spec.peer.address", refusal(peer=address)),
        ("spec.services.image.endpoints[0].address", refusal(endpoint=address)),
    ):
        assert found == (field, f'"{address}" {why}')


@pytest.mark.parametrize("address", UNSPECIFIED)
def test_an_unspecified_address_is_refused_in_the_url_of_a_front(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    front = {"address": "192.0.2.3", "url": f"http://{host}:80"}

    assert "can be listened on but not connected to" in refusal(front=front)[1]


@pytest.mark.parametrize("address", UNSPECIFIED)
def test_an_unspecified_bind_address_is_normalised(address: str) -> None:
    made = cloud(front={"address": "192.0.2.3", "bind": address})

    assert made.front is not None
    assert made.front.bind == ("::" if ":" in address else "0.0.0.0")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2001:DB8:0:0:0:0:0:7", "2001:db8::7"),
        ("2001:0db8::0007", "2001:db8::7"),
        ("::1.2.3.4", "::102:304"),
        ("Glance.Example", "glance.example"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_equal_addresses_are_normalised_to_one_spelling(written: str, kept: str) -> None:
    made = cloud(front={"address": "192.0.2.3"}, peer=written, endpoint=written)

    assert made.peer is not None
    assert (made.peer.address, made.services["image"].endpoints[0].address) == (kept, kept)


@pytest.mark.parametrize(
    "address", ["::ffff:127.0.0.1", "::FFFF:7f00:1", "0:0:0:0:0:ffff:127.0.0.1"]
)
def test_an_ipv4_address_mapped_to_ipv6_is_refused(address: str) -> None:
    why = f'"{address}" is an IPv4 address written as IPv6; write 127.0.0.1'

    assert refusal(endpoint=address)[1] == why
    assert refusal(front={"address": "192.0.2.3", "bind": address})[1] == why
    assert refusal(front={"address": "192.0.2.3", "url": f"http://[{address}]"})[1].endswith(
        "is an IPv4 address written as IPv6; write 127.0.0.1"
    )


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("fe80::1%eth0", "has a zone, which means something on one machine only"),
        ("fe80::1%25eth0", "has a zone, which means something on one machine only"),
        *(
            (text, "is not an IP address: write it as four numbers, such as 127.0.0.1")
            for text in (
                *("127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "127.0.0.01"),
                *("010.0.0.1", "1.2.3.256", "0", "0x", "127.0.0.1."),
            )
        ),
        ("[::1]", "is not an IP address or a host name"),
        ("glance.example.", "is not an IP address or a host name"),
    ],
)
def test_an_ambiguous_spelling_of_an_address_is_refused(address: str, why: str) -> None:
    assert refusal(endpoint=address)[1] == f'"{address}" {why}'


def test_front_and_peer_on_one_port_are_refused_in_any_spelling_of_the_address() -> None:
    with pytest.raises(InvalidCloud, match="is used by the front, too"):
        parse_manifest(
            {
                "apiVersion": "scopeway.io/v1alpha1",
                "kind": "EdgeCloud",
                "metadata": {"name": "cloud-9"},
                "spec": {
                    "front": {"address": "2001:db8::1", "port": 8080, "bind": "0::0"},
                    "peer": {"address": "2001:db8:0::1", "port": 8080},
                },
            },
            "a.yaml",
        )
