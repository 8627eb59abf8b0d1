"""The URLs at which clients reach a front."""

import pytest

from scopeway.control_plane.clouds.model import Certificate, Front
from scopeway.control_plane.clouds.urls import front_url, is_secure, service_urls

TLS = Certificate(certificate="/etc/front.pem", key="/etc/front.key")


@pytest.mark.parametrize(
    ("front", "url", "image", "secure"),
    [
        (
            Front(address="10.9.99.1", port=8080, ports={"image": 9292}),
            "http://10.9.99.1:8080",
            "http://10.9.99.1:9292",
            False,
        ),
        (
            Front(address="2001:db8::1", port=8080, ports={"image": 9292}),
            "http://[2001:db8::1]:8080",
            "http://[2001:db8::1]:9292",
            False,
        ),
        (
            Front(address="a.example", port=443, ports={"image": 9292}, tls=TLS),
            "https://a.example:443",
            "https://a.example:9292",
            True,
        ),
        (
            Front(address="10.9.99.1", port=8080, ports={"image": 9292}, url="https://a.example"),
            "https://a.example",
            "https://a.example:9292",
            True,
        ),
        (
            Front(address="10.9.99.1", port=80, ports={"image": 92}, url="https://[2001:db8::1]:8"),
            "https://[2001:db8::1]:8",
            "https://[2001:db8::1]:92",
            True,
        ),
        (
            Front(address="10.9.99.1", port=80, ports={"image": 92}, url="http://a.example:81"),
            "http://a.example:81",
            "http://a.example:92",
            False,
        ),
    ],
    ids=["plain", "ipv6", "tls", "behind-tls", "behind-tls-ipv6", "forwarded"],
)
def test_front_urls_come_from_url_address_and_ports(
    front: Front, url: str, image: str, secure: bool
) -> None:
    assert front_url(front) == url
    assert service_urls(front) == {"image": image}
    assert is_secure(front) is secure
