"""`scopeway explain`: its output for programs and for people, and its exit status."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.fleet import at, manifest
from scopeway.control_plane.clouds.document import to_document

IMAGE = {"image": {"endpoints": [at(9292)]}}
ANYONE = [{"clouds": ["cloud-1"]}]
FAR_PEER = {"address": "192.0.2.1", "port": 8443}


@pytest.fixture
def registry(write: Callable[..., Path]) -> str:
    clouds = [
        manifest("cloud-1", front=at(8080), services=IMAGE),
        manifest("cloud-2", services=IMAGE, accept=ANYONE),
        manifest("cloud-3", services=IMAGE, accept=ANYONE),
        manifest("cloud-4", services=IMAGE),
        manifest(
            "cloud-5", peer={"address": "192.0.2.1", "port": 1}, services=IMAGE, accept=ANYONE
        ),
    ]
    file = write("clouds/all.yaml", *map(to_document, clouds))
    return f"dir:{file.parent}"


@pytest.fixture
def explain(scopeway: Callable[..., Any], registry: str) -> Callable[..., Any]:
    """Explain a scope at cloud-1."""

    def explain(scope: str, *more: object) -> Any:
        options = ("--registry", registry, "--from", "cloud-1", "--scope", scope)
        return scopeway("explain", *options, *more, "glance")

    return explain


def test_explain_exits_0_for_a_route_and_names_the_clouds_in_order(
    explain: Callable[..., Any],
) -> None:
    outcome = explain("{image:cloud-3 | cloud-9 | cloud-2}", "--format", "json")

    assert (outcome.status, outcome.err) == (0, "")
    assert json.loads(outcome.out) == {
        "target": "image@cloud-3|cloud-9|cloud-2",
        "outcome": "route",
        "status": None,
        "reason": None,
        "operator": None,
        "clouds": ["cloud-3", "cloud-2"],
        "skipped": {"cloud-9": "no cloud is named cloud-9"},
        "rules": {"cloud-3": "accept[0]", "cloud-2": "accept[0]"},
        "limits": {},
        "warnings": [],
    }


def test_explain_lists_members_and_missing_clouds_of_a_fanout(explain: Callable[..., Any]) -> None:
    outcome = explain("{image:cloud-3 & cloud-9 & cloud-2}", "--format", "json")
    told = json.loads(outcome.out)

    assert (outcome.status, told["outcome"], told["operator"]) == (0, "fanout", "&")
    assert told["clouds"] == ["cloud-3", "cloud-2"]
    assert told["skipped"] == {"cloud-9": "no cloud is named cloud-9"}
    assert told["rules"] == {"cloud-3": "accept[0]", "cloud-2": "accept[0]"}


@pytest.mark.parametrize(
    ("operator", "words"),
    [("&", "all of cloud-3, cloud-2"), ("^", "the one that has it of cloud-3, cloud-2")],
)
def test_explain_prints_members_and_missing_clouds_of_a_fanout(
    explain: Callable[..., Any], operator: str, words: str
) -> None:
    outcome = explain(f"{{image:cloud-3 {operator} cloud-9 {operator} cloud-2}}")
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]

    assert outcome.status == 0
    assert f"goes to {words}" in lines
    assert "missing cloud-9: no cloud is named cloud-9" in lines
    assert "policy cloud-2: accept[0]" in lines


def test_explain_without_a_scope_names_the_cloud_itself(explain: Callable[..., Any]) -> None:
    outcome = explain("", "--format", "json")

    assert (outcome.status, json.loads(outcome.out)["clouds"]) == (0, ["cloud-1"])


@pytest.mark.parametrize(
    ("scope", "target", "status", "reason"),
    [
        ("{image:cloud-9}", "image@cloud-9", 404, "no cloud is named cloud-9"),
        ("{image:cloud-4}", "image@cloud-4", 403, "cloud-4"),
        ("{image:cloud-2 % cloud-3}", "image@cloud-2%cloud-3", 501, "'%' divides"),
        ("{image:cloud-2 & [tier=edge]}", "image@cloud-2&[tier=edge]", 501, "'&' joins"),
        ("{*:cloud-2 & cloud-3}", None, 400, "column 12: '*' takes no '&'"),
        ("{image:cloud-5}", "image@cloud-5", 503, "--insecure-peers"),
        ("{image:cloud-1 |}", None, 400, "column 17: "),
    ],
)
def test_explain_exits_3_for_a_rejection_and_names_the_reason(
    explain: Callable[..., Any], scope: str, target: str | None, status: int, reason: str
) -> None:
    outcome = explain(scope, "--format", "json")
    told = json.loads(outcome.out)

    assert (outcome.status, outcome.err) == (3, "")
    assert (told["target"], told["outcome"], told["status"]) == (target, "reject", status)
    assert reason in told["reason"]
    assert told["clouds"] == []


def test_explain_allows_insecure_peers_with_the_option_of_the_control_plane(
    explain: Callable[..., Any],
) -> None:
    outcome = explain("{image:cloud-5}", "--insecure-peers")

    assert outcome.status == 0
    assert "cloud-5 takes at most 5000 requests a second" in " ".join(outcome.out.split())


def test_explain_allows_clouds_without_a_peer_with_the_option_of_the_control_plane(
    explain: Callable[..., Any],
) -> None:
    secure = ("--trust-domain", "fleet")
    refused = explain("{image:cloud-2}", *secure)

    assert refused.status == 3
    assert "cloud-2 has no peer" in refused.out
    assert "--direct" in refused.out
    assert explain("{image:cloud-2}", *secure, "--direct", "127.0.0.1").status == 0
    assert explain("{image:cloud-2}", "--direct", "192.0.2.0/24").status == 3


def test_explain_prints_a_table_for_people(explain: Callable[..., Any]) -> None:
    route, rejection = explain("{image:cloud-3 | cloud-9}"), explain("{image:cloud-9}")

    assert [line.split(maxsplit=1)[0] for line in route.out.splitlines()] == [
        *("target", "goes", "policy", "skipped")
    ]
    assert "no cloud is named cloud-9" in route.out
    assert (rejection.status, "404" in rejection.out) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "cloud-7", "image"], "no cloud 'cloud-7' in dir:"),
        (["--from", "cloud-1", "potato"], "no such service: 'potato'"),
        (["image"], "--from"),
    ],
)
def test_explain_exits_2_for_bad_usage(
    scopeway: Callable[..., Any], registry: str, arguments: list[str], words: str
) -> None:
    outcome = scopeway("explain", "--registry", registry, *arguments)

    assert (outcome.status, outcome.out) == (2, "")
    assert words in outcome.err


@pytest.mark.parametrize("registry", ["dir:/nowhere", "potato", "etcd://127.0.0.1:99999"])
def test_explain_exits_2_for_an_unreadable_registry(
    scopeway: Callable[..., Any], registry: str
) -> None:
    outcome = scopeway("explain", "--registry", registry, "--from", "cloud-1", "image")

    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith("Error: ")


def test_a_bad_manifest_is_a_warning_and_explain_goes_on(
    scopeway: Callable[..., Any], registry: str, write: Callable[..., Path]
) -> None:
    write("clouds/bad.yaml", {"kind": "Potato"})
    outcome = scopeway("explain", "--registry", registry, "--from", "cloud-1", "image")

    assert outcome.status == 0
    assert outcome.err.startswith("warning: ")
    assert "bad.yaml:1" in outcome.err


def test_explain_judges_a_method_by_the_rule_that_names_the_caller(
    scopeway: Callable[..., Any], write: Callable[..., Path]
) -> None:
    reads = [{"clouds": ["cloud-1"], "methods": ["GET"]}]
    peer = {"address": "192.0.2.1", "port": 8443}
    clouds = [
        manifest("cloud-1", services=IMAGE),
        manifest("cloud-2", peer=peer, services=IMAGE, accept=reads),
    ]
    folder = write("clouds/all.yaml", *map(to_document, clouds)).parent
    options = ("--registry", f"dir:{folder}", "--from", "cloud-1", "--scope", "image:cloud-2")
    options += ("--trust-domain", "fleet.test")

    allowed = scopeway("explain", *options, "--method", "GET", "image")
    denied = scopeway("explain", *options, "--method", "delete", "image")
    form = scopeway("explain", *options, "--method", "form", "image")

    assert (allowed.status, denied.status, form.status) == (0, 3, 3)
    assert "cloud-2: accept[0]" in allowed.out
    assert "its rule accept[0] allows GET" in denied.out
    assert "its rule accept[0] allows GET" in form.out


def test_explain_warns_where_certificates_would_change_the_route(
    explain: Callable[..., Any],
) -> None:
    """`explain` knows no control plane, so it cannot know whether its sites have some."""
    scope, hint = "{image:cloud-5}", "where sites have certificates (--trust-domain) it goes to"
    without, told = explain(scope), explain(scope, "--trust-domain", "edge.example")

    assert without.status == 3
    assert f"warning  {hint} cloud-5" in without.out
    assert told.status == 0
    assert hint not in told.out + explain("{image:cloud-2}").out


def test_explain_knows_declared_service_types(
    scopeway: Callable[..., Any], write: Callable[..., Path]
) -> None:
    services = {"sensor": {"endpoints": [at(9000)]}}
    clouds = [
        manifest("cloud-1", front=at(8080), services=services),
        manifest("cloud-2", services={**services, "valve": services["sensor"]}, accept=ANYONE),
    ]
    declared = {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "ServiceType",
        "metadata": {"name": "sensor"},
        "spec": {"aliases": ["probe"]},
    }
    folder = write("clouds/all.yaml", declared, *map(to_document, clouds)).parent
    options = ("explain", "--registry", f"dir:{folder}", "--from", "cloud-1", "--scope")

    found = scopeway(*options, "{probe: cloud-2}", "--format", "json", "probe")
    mistyped = scopeway(*options, "{prob: cloud-2}", "--format", "json", "sensor")
    unknown = scopeway(*options, "", "valve")

    assert found.status == 0
    assert json.loads(found.out)["target"] == "sensor@cloud-2"
    assert mistyped.status == 3
    assert json.loads(mistyped.out)["reason"] == (
        "column 2: no such service: 'prob'; did you mean 'probe'?"
    )
    assert unknown.status == 2
    assert "no such service: 'valve'" in unknown.err
