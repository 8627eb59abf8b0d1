import pytest

from scopeway.control_plane.registry.etcd.url import EtcdUrl, parse_etcd_url
from scopeway.control_plane.registry.interface import RegistryUnavailable


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("etcd://10.0.0.1:2379", EtcdUrl(endpoints=("10.0.0.1:2379",), prefix="/scopeway")),
        ("etcd://etcd", EtcdUrl(endpoints=("etcd:2379",))),
        ("etcd://a:1,b,[::1]/", EtcdUrl(endpoints=("a:1", "b:2379", "[::1]:2379"))),
        ("etcd://[::2]:3", EtcdUrl(endpoints=("[::2]:3",))),
        ("etcd://a/one/two/", EtcdUrl(endpoints=("a:2379",), prefix="/one/two")),
        (
            "etcd://me:p%40ss:w@a,b/x?cacert=/ca.pem&cert=c&key=k",
            EtcdUrl(
                endpoints=("a:2379", "b:2379"),
                prefix="/x",
                user="me",
                password="p@ss:w",
                cacert="/ca.pem",
                cert="c",
                key="k",
            ),
        ),
        ("etcd://a?cacert=ca.pem", EtcdUrl(endpoints=("a:2379",), cacert="ca.pem")),
    ],
)
def test_an_etcd_url_is_read_as_endpoints_prefix_and_credentials(url: str, meant: EtcdUrl) -> None:
    assert parse_etcd_url(url) == meant


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("etcd:", "'//' is missing after 'etcd:'; use etcd://host[:port]"),
        ("http://a", "unsupported scheme 'http'; use etcd://host[:port]"),
        ("etcd:///prefix", "'' is not a valid etcd host"),
        ("etcd://a,,b", "'' is not a valid etcd host"),
        ("etcd://a b", "'a b' is not a valid etcd host"),
        ("etcd://::1", "':' is not a valid etcd host"),
        ("etcd://a:0", "'0' is not a valid etcd port (1 to 65535)"),
        ("etcd://a:port", "'port' is not a valid etcd port (1 to 65535)"),
        ("etcd://a:", "'' is not a valid etcd port (1 to 65535)"),
        ("etcd://a?timeout=1", "unknown option 'timeout' of etcd://; use cacert, cert, key"),
        ("etcd://a?cert=c", "the options cert and key of etcd:// must be used together"),
    ],
)
def test_an_error_in_an_etcd_url_names_the_wrong_part(url: str, reason: str) -> None:
    with pytest.raises(RegistryUnavailable) as caught:
        parse_etcd_url(url)

    assert reason in str(caught.value)


@pytest.mark.parametrize("url", ["etcd:me:secret@a", "etcds://me:secret@a", "etcd://me:secret@a:0"])
def test_an_error_in_an_etcd_url_does_not_show_the_password(url: str) -> None:
    with pytest.raises(RegistryUnavailable) as caught:
        parse_etcd_url(url)

    assert "secret" not in str(caught.value)


def test_the_text_of_an_etcd_url_has_no_password() -> None:
    url = parse_etcd_url("etcd://me:secret@a,b/x")

    assert str(url) == "etcd://a:2379,b:2379/x"
    assert "secret" not in repr(url)
