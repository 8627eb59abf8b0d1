"""The hook, called as openstacksdk calls it, with a stand-in for its connection."""

from types import SimpleNamespace
from typing import Any

import pytest

from scopeway.control_plane.openstack_client.hook import (
    CannotAttachScope,
    ScopeRejected,
    attach_scope,
)
from scopeway.control_plane.scope import ScopeError


def connection(**config: object) -> Any:
    return SimpleNamespace(
        config=SimpleNamespace(config=config),
        session=SimpleNamespace(
            additional_headers={"Other": "header"},
            session=SimpleNamespace(hooks={"response": []}),
        ),
    )


def headers_for(**config: object) -> dict[str, str]:
    found = connection(**config)
    attach_scope(found)
    headers: dict[str, str] = found.session.additional_headers
    return headers


def test_every_request_gets_the_lexical_form_of_the_scope() -> None:
    assert headers_for(x_scope="{Glance: cloud-999;}") == {
        "Other": "header",
        "X-Scope": "image:cloud-999",
    }


@pytest.mark.parametrize("config", [{}, {"x_scope": None}, {"x_scope": ""}])
def test_requests_without_a_scope_have_no_scope_header(config: dict[str, object]) -> None:
    assert headers_for(**config) == {"Other": "header"}


@pytest.mark.parametrize("wrong", ["glanze:a", "glance:a\r\nX-Evil: 1", 42])
def test_an_invalid_scope_is_refused_before_the_request(wrong: object) -> None:
    with pytest.raises(ScopeError):
        headers_for(x_scope=wrong)


@pytest.mark.parametrize(
    "unknown",
    [
        SimpleNamespace(),
        SimpleNamespace(config=SimpleNamespace(config=None)),
        SimpleNamespace(config=SimpleNamespace(config={"x_scope": "glance:a"}), session=None),
        SimpleNamespace(
            config=SimpleNamespace(config={"x_scope": "glance:a"}),
            session=SimpleNamespace(additional_headers=()),
        ),
    ],
)
def test_no_request_is_sent_without_its_scope_if_the_hook_fails(unknown: Any) -> None:
    """openstacksdk logs an AttributeError or TypeError of a hook, and goes on."""
    with pytest.raises(CannotAttachScope, match=r"^the scope cannot be sent: "):
        attach_scope(unknown)


def answer(text: str, *, status: int = 404, url: str = "http://a/", **headers: str) -> Any:
    return SimpleNamespace(status_code=status, headers=headers, text=text, url=url)


def test_a_rejection_ends_the_command_with_its_reason() -> None:
    """keystoneauth would say that the service has no versions."""
    found = connection(x_scope="glance:cloud-9")
    attach_scope(found)
    (told,) = found.session.session.hooks["response"]
    rejected = {"X-Scopeway-Rejected": "true"}

    with pytest.raises(ScopeRejected, match=r"^no cloud is named cloud-9 \(HTTP 404\)$"):
        told(answer('{"error": {"message": "no cloud is named cloud-9"}}', **rejected), timeout=1)
    with pytest.raises(ScopeRejected, match=r"^upstream error \(HTTP 404\)$"):
        told(answer("upstream error", **rejected))


def test_an_error_response_of_a_service_raises_nothing_in_the_hook() -> None:
    found = connection(x_scope="glance:cloud-9")
    attach_scope(found)
    (told,) = found.session.session.hooks["response"]

    error = '{"error": {"message": "no such image"}}'
    # what Scopeway makes of the header when a service sent it
    for headers in ({}, {"X-Scopeway-Rejected": "false"}):
        assert told(answer(error, **headers)) is None, "requests keeps the response"


def test_the_first_401_is_left_to_keystoneauth_and_the_second_is_a_rejection() -> None:
    found = connection(x_scope="glance:cloud-9")
    attach_scope(found)
    (told,) = found.session.session.hooks["response"]
    refused = answer(
        '{"error": {"message": "expired"}}', status=401, **{"X-Scopeway-Rejected": "true"}
    )

    told(refused)
    told(answer("{}", status=201, url="http://a/v3/auth/tokens"))
    with pytest.raises(ScopeRejected, match=r"^expired \(HTTP 401\)$"):
        told(refused)
