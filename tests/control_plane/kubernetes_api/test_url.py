from pathlib import Path

import pytest

from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl, parse_kubernetes_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("kubernetes:", KubernetesUrl()),
        ("kubernetes:/etc/k.yaml", KubernetesUrl(kubeconfig=Path("/etc/k.yaml"))),
        ("kubernetes:k.yaml?context=a", KubernetesUrl(kubeconfig=Path("k.yaml"), context="a")),
        ("kubernetes:?context=me@here+1", KubernetesUrl(context="me@here+1")),
        (
            "kubernetes:?context=arn:aws:eks:eu:1:cluster/a%26b",
            KubernetesUrl(context="arn:aws:eks:eu:1:cluster/a&b"),
        ),
    ],
)
def test_a_url_names_a_kubeconfig_and_a_context(url: str, expected: KubernetesUrl) -> None:
    assert parse_kubernetes_url(url) == expected


def test_a_tilde_in_a_url_is_the_home_folder() -> None:
    assert parse_kubernetes_url("kubernetes:~/x").kubeconfig == Path.home() / "x"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("kubernetes", "unsupported scheme"),
        ("kubernetes://host:6443", "'//' is not allowed after 'kubernetes:'"),
        ("kubernetes:?namespace=a", "unknown option 'namespace' of kubernetes:; use context"),
        ("kubernetes:?context=", "the option context of kubernetes: is empty"),
    ],
)
def test_a_url_of_another_form_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ApiError, match=problem) as caught:
        parse_kubernetes_url(url)

    assert caught.value.is_refused


@pytest.mark.parametrize("url", ["kubernetes:", "kubernetes:/etc/k", "kubernetes:/etc/k?context=a"])
def test_the_text_of_a_url_is_the_url(url: str) -> None:
    assert str(parse_kubernetes_url(url)) == url
