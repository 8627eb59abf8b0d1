"""The hook, called as openstacksdk calls it, with a stand-in for its connection."""

from types import SimpleNamespace
from typing import Any

import pytest

from scopeway.control_plane.openstack_client.hook import (
    CannotAttachScope,
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


@pytest.mark.parametrize("wrong", ["glance:a|", "no_service:a", "glance:a\r\nX-Evil: 1", 42])
def test_an_invalid_scope_is_refused_before_the_request(wrong: object) -> None:
    with pytest.raises(ScopeError):
        headers_for(x_scope=wrong)


def test_a_service_that_only_the_registry_knows_is_sent() -> None:
    assert headers_for(x_scope="Sensor: a; glance: b")["X-Scope"] == "image:b;sensor:a"


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


def test_a_fanout_may_require_all_clouds() -> None:
    assert headers_for(x_scope="glance: a & b", x_scope_require="all") == {
        "Other": "header",
        "X-Scope": "image:a&b",
        "X-Scope-Require": "all",
    }


def test_requests_for_one_cloud_do_not_require_all() -> None:
    assert "X-Scope-Require" not in headers_for(x_scope="glance: a | b", x_scope_require="all")
    assert headers_for(x_scope_require="all") == {"Other": "header"}


@pytest.mark.parametrize("wrong", ["some", True, 1])
def test_nothing_but_all_may_be_required(wrong: object) -> None:
    with pytest.raises(CannotAttachScope, match=r"x_scope_require is .*, not 'all'"):
        headers_for(x_scope="glance: a & b", x_scope_require=wrong)


@pytest.mark.parametrize(
    ("scope", "hooks"), [("glance:a|b", 1), ("glance:a&b", 2), ("nova:a^b", 2)]
)
def test_only_a_fanout_has_its_reports_read(scope: str, hooks: int) -> None:
    found = connection(x_scope=scope)
    attach_scope(found)

    assert len(found.session.session.hooks["response"]) == hooks


def test_a_second_connection_on_one_session_adds_no_second_hook() -> None:
    """Else each failure would be told once for each connection."""
    found = connection(x_scope="glance:a&b")
    others = [print]
    found.session.session.hooks["response"] = [*others]

    attach_scope(found)
    attach_scope(found)

    assert found.session.session.hooks["response"][:1] == others
    assert len(found.session.session.hooks["response"]) == 3
