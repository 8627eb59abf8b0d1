"""A field that nobody knows, and a null, never widen a policy: they are refused on every way in.

A structural schema alone drops both: `methds: [GET]` would be stored as a rule for all methods.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.kubernetes import OURS, ApiServer
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.registry.documents import parse_document

PATH = "/apis/scopeway.io/v1alpha1/edgeclouds"
RULE = {"clouds": ["cloud-1"], "methods": ["GET"]}
MISTYPED = {"clouds": ["cloud-1"], "methds": ["GET"]}
NULL = {"clouds": ["cloud-1"], "methods": None}
SENTENCES = {
    "unknown": 'spec.accept[0]: "methds" is not a field here; there are clouds, fanout, identity, '
    "limits, methods, services",
    "null": "spec.accept[0].methods: null is not a value; leave the field out",
}
RULES = {"unknown": MISTYPED, "null": NULL}

Way = Callable[[ApiServer, dict[str, Any]], Any]


def cloud(*rules: object, name: str = "cloud-9", **more: Any) -> dict[str, Any]:
    head = {"apiVersion": "scopeway.io/v1alpha1", "kind": "EdgeCloud", "metadata": {"name": name}}
    return {**head, "spec": {"accept": list(rules)}, **more}


def kubectl(*arguments: str) -> Way:
    """Give kubectl the whole object."""

    def run(api: ApiServer, document: dict[str, Any]) -> Any:
        return api.kubectl(*arguments, "-f", "-", text=json.dumps(document), check=False)

    return run


def patch(kind: str, make: Callable[[dict[str, Any]], Any]) -> Way:
    """Patch the object that is there."""

    def run(api: ApiServer, document: dict[str, Any]) -> Any:
        text = json.dumps(make(document))
        return api.kubectl("patch", "ec", "cloud-9", f"--type={kind}", "-p", text, check=False)

    return run


def put(api: ApiServer, document: dict[str, Any]) -> Any:
    """Send the object as a client does that asks for no validation of fields."""
    version = api.get("ec", "cloud-9")["metadata"]["resourceVersion"]
    whole = {**document, "metadata": {"name": "cloud-9", "resourceVersion": version}}
    path = f"{PATH}/cloud-9"
    return api.kubectl("replace", "--raw", path, "-f", "-", text=json.dumps(whole), check=False)


CREATING: dict[str, Way] = {
    "apply": kubectl("apply"),
    "apply without validation": kubectl("apply", "--validate=false"),
    "apply on the server side": kubectl("apply", "--server-side", "--force-conflicts"),
    "the same without validation": kubectl(
        "apply", "--server-side", "--force-conflicts", "--validate=false"
    ),
    "create": kubectl("create"),
    "POST": kubectl("create", "--raw", PATH),
}
CHANGING: dict[str, Way] = {
    **{way: CREATING[way] for way in CREATING if "apply" in way or "same" in way},
    "replace": kubectl("replace"),
    "PUT": put,
    "merge patch": patch("merge", lambda document: {"spec": document["spec"]}),
    "JSON patch": patch(
        "json",
        lambda document: [
            {"op": "replace", "path": "/spec/accept/0", "value": document["spec"]["accept"][0]}
        ],
    ),
}


@pytest.fixture
def nothing(api_server: ApiServer) -> Iterator[None]:
    """What a test stores is gone after it."""
    yield
    api_server.kubectl("delete", "ec", "cloud-9", "--ignore-not-found")


@pytest.fixture
def stored(api_server: ApiServer, nothing: None) -> dict[str, Any]:
    """A cloud with one rule."""
    api_server.kubectl("create", "-f", "-", text=json.dumps(cloud(RULE)))
    found: dict[str, Any] = api_server.get("ec", "cloud-9")
    return found


def sentence(way: str, what: str) -> str:
    if what == "null" and way in {"apply", "apply without validation"}:
        return 'kubectl apply drops fields that are null: leave the field out, "methods":null'
    return SENTENCES[what]


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize("what", SENTENCES)
@pytest.mark.parametrize("way", CREATING)
def test_a_rule_that_would_be_wider_is_not_created(
    api_server: ApiServer, way: str, what: str
) -> None:
    done = CREATING[way](api_server, cloud(RULES[what]))

    assert sentence(way, what) in done.stderr
    assert api_server.kubectl("get", "ec", "cloud-9", check=False).returncode


@pytest.mark.parametrize(
    ("way", "what"),
    # a merge patch removes what is null, before anything is checked
    [
        (way, what)
        for way in CHANGING
        for what in SENTENCES
        if (way, what) != ("merge patch", "null")
    ],
)
def test_a_rule_does_not_become_wider(
    api_server: ApiServer, stored: dict[str, Any], way: str, what: str
) -> None:
    done = CHANGING[way](api_server, cloud(RULES[what]))

    assert sentence(way, what) in done.stderr
    assert api_server.get("ec", "cloud-9")["spec"] == stored["spec"]


def test_kubectl_apply_may_say_null_where_it_means_nothing(api_server: ApiServer) -> None:
    """Generators write such a time; a text may hold anything."""
    metadata = {"name": "cloud-9", "creationTimestamp": None}
    front = {"address": "10.0.0.1", "port": 1, "region": '"a":null,'}
    document = {**cloud(RULE), "metadata": metadata, "spec": {"front": front}}

    assert kubectl("apply", "--dry-run=server")(api_server, document).stderr == ""


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        ("EdgeCloud", {"acept": []}, '"acept" is not a field here; there are apiVersion, kind,'),
        ("EdgeCloud", {"spec": None}, "spec: null is not a value; leave the field out"),
        ("EdgeCloud", {"spec": {"peer": None}}, "spec.peer: null is not a value"),
        ("EdgeCloud", {"spec": {"services": {"image": None}}}, "spec.services.image: null is not"),
        (
            "EdgeCloud",
            {"spec": {"front": {"address": "10.0.0.1", "port": 1, "ports": {"image": None}}}},
            "spec.front.ports.image: null is not a value",
        ),
        (
            "EdgeCloud",
            {"spec": {"front": {"address": "10.0.0.1", "port": 1, "tsl": {}}}},
            'spec.front: "tsl" is not a field here; there are address, bind, port, ports, region,',
        ),
        (
            "EdgeCloud",
            {
                "spec": {
                    "services": {
                        "image": {"endpoints": [{"address": "a", "port": 1}] * 3},
                        "compute": {
                            "endpoints": [
                                {"address": "a", "port": 1},
                                {"address": "a", "port": 1, "wait": 1},
                            ]
                        },
                    }
                }
            },
            'spec.services.compute.endpoints[1]: "wait" is not a field here; there are address,',
        ),
        (
            "EdgeCloud",
            {"spec": {"accept": [{"clouds": ["a"]}] * 255 + [{"clouds": ["a"], "x" * 80: 1}]}},
            f'spec.accept[255]: "{"x" * 63}..." is not a field here',
        ),
        (
            "EdgeCloud",
            {"spec": {"accept": [{"clouds": ["a"], "limits": {"requestsAtOnce": None}}]}},
            None,
        ),
        (
            "EdgeCloud",
            {
                "spec": {
                    "accept": [
                        {"clouds": ["a"]},
                        {"clouds": ["a"], "identity": {"clouds": ["a"], "role": ["reader"]}},
                    ]
                }
            },
            'spec.accept[1].identity: "role" is not a field here; there are clouds, ids, roles',
        ),
        (
            "EdgeCloud",
            {"spec": {"a\nb": 1}},
            "spec has an unknown field, or a field that is null",
        ),
        ("Cordon", {"spec": {"reson": "x"}}, 'spec: "reson" is not a field here; there are reason'),
        ("Cordon", {"spec": {"reason": None}}, "spec.reason: null is not a value"),
        ("ServiceType", {"spec": {"foward": ["a"]}}, 'spec: "foward" is not a field here'),
        (
            "ServiceType",
            {"spec": {"lists": [{"path": "/a"}, {"path": "/b", "idd": "x"}]}},
            'spec.lists[1]: "idd" is not a field here; there are id, key, path',
        ),
        (
            "ServiceType",
            {"spec": {"lists": [{"path": "/a", "id": None}]}},
            "spec.lists[0].id: null",
        ),
    ],
)
def test_the_place_is_told_wherever_it_is(
    api_server: ApiServer, kind: str, change: dict[str, Any], sentence: str | None
) -> None:
    document = {**cloud(name="sensor"), "kind": kind, "spec": {}, **change}
    done = kubectl("create", "--validate=false", "--dry-run=server")(api_server, document)

    assert done.returncode
    assert sentence is None or sentence in done.stderr


def test_what_was_stored_without_the_policy_is_kept_and_refused_by_the_parser(
    make_api_server: Callable[..., ApiServer],
) -> None:
    """The definitions alone drop nothing; the policy is put into force later."""
    api = make_api_server(ours=False)
    api.apply_ours(OURS[:1])
    finalized = cloud(MISTYPED)
    finalized["metadata"]["finalizers"] = ["a.example/b"]
    api.kubectl("apply", "--server-side", "-f", "-", text=json.dumps(finalized))
    api.kubectl("create", "-f", "-", text=json.dumps(cloud(NULL, name="cloud-8")))

    for name, reason in (("cloud-9", '"methds" is not a field'), ("cloud-8", "is missing")):
        found = api.get("ec", name)
        document = {**found, "metadata": {"name": name}}
        with pytest.raises(InvalidCloud, match=reason):
            parse_document(document, "")

    api.apply_ours()
    changed = json.dumps({"spec": {"acceptMode": "audit"}})
    refused = api.kubectl("patch", "ec", "cloud-9", "--type=merge", "-p", changed, check=False)
    assert SENTENCES["unknown"] in refused.stderr
    api.kubectl("annotate", "ec", "cloud-9", "a.example/b=c")
    status = json.dumps({"status": {"conditions": []}})
    api.kubectl("patch", "ec", "cloud-9", "--subresource=status", "--type=merge", "-p", status)
    api.kubectl("delete", "ec", "cloud-9", "--wait=false")
    gone = json.dumps({"metadata": {"finalizers": None}})
    api.kubectl("patch", "ec", "cloud-9", "--type=merge", "-p", gone)
    assert api.kubectl("get", "ec", "cloud-9", check=False).returncode

    mended = cloud(RULE, name="cloud-8")
    api.kubectl("replace", "-f", "-", text=json.dumps(mended))
