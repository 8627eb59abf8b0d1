"""The definitions on a real API server: what people type, what they see, and what is stored."""

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from harness.kubernetes import REPOSITORY, ApiServer
from harness.kubernetes_dry_run import judge
from scopeway.control_plane.custom_resources.definitions import definition, resources
from scopeway.control_plane.registry.documents import MAX_BYTES, parse_json

EXAMPLES = REPOSITORY / "deploy/examples/clouds"
TESTDATA = REPOSITORY / "tests/testdata/kubernetes"
REFUSALS: list[dict[str, Any]] = yaml.safe_load((TESTDATA / "refusals.yaml").read_text())
KINDS = "edgeclouds,cordons,servicetypes"

Document = dict[str, Any]
Store = Callable[..., None]


@pytest.fixture
def store(api_server: ApiServer) -> Iterator[Store]:
    """Store documents; what is stored is gone after the test."""
    stored: list[tuple[str, str]] = []

    def store_all(*documents: Document) -> None:
        stored.extend((each["kind"], each["metadata"]["name"]) for each in documents)
        api_server.apply(*documents)

    yield store_all
    for kind, name in stored:
        api_server.kubectl("delete", kind, name, "--ignore-not-found")


def cloud(spec: Document | None = None, name: str = "cloud-9", **metadata: Any) -> Document:
    return document("EdgeCloud", name, spec or {}, **metadata)


def document(kind: str, name: str, spec: Document, **metadata: Any) -> Document:
    head = {"apiVersion": "scopeway.io/v1alpha1", "kind": kind}
    return {**head, "metadata": {"name": name, **metadata}, "spec": spec}


def set_condition(
    api: ApiServer,
    name: str,
    status: str,
    *,
    kind: str = "edgecloud",
    others: Mapping[str, str] = MappingProxyType({}),
    **fields: Any,
) -> None:
    """Write the condition Accepted, and the status of others, as the control plane does."""
    condition = {
        "type": "Accepted",
        "status": status,
        "reason": "Accepted" if status == "True" else "Invalid",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": api.get(kind, name)["metadata"]["generation"],
        **fields,
    }
    conditions = [
        condition,
        *({**condition, "type": each, "status": said} for each, said in others.items()),
    ]
    patch = json.dumps({"status": {"conditions": conditions}})
    api.kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)


def table(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("options", [["--server-side"], []], ids=["server side", "client side"])
def test_an_example_applies_as_it_is(api_server: ApiServer, path: Path, options: list[str]) -> None:
    done = api_server.kubectl("apply", *options, "--dry-run=server", "-f", path)

    assert done.stderr == ""
    assert done.stdout.count("edgecloud.scopeway.io/") == path.read_text().count("kind: EdgeCloud")


@pytest.mark.parametrize(
    "field",
    [
        *("edgecloud", "edgecloud.spec", "edgecloud.spec.accept", "edgecloud.spec.accept.limits"),
        *("edgecloud.spec.front", "edgecloud.spec.services", "edgecloud.status.conditions"),
        *("cordon.spec", "servicetype.spec", "servicetype.spec.lists"),
    ],
)
def test_explain_teaches_what_a_field_is_for(api_server: ApiServer, field: str) -> None:
    explained = api_server.kubectl("explain", field).stdout

    assert explained == (TESTDATA / f"explain/{field}.txt").read_text()


def test_the_table_says_what_a_person_wants_to_know(api_server: ApiServer, store: Store) -> None:
    peer = {"address": "203.0.113.9", "port": 8443}
    store(cloud({"peer": peer, "acceptMode": "audit"}, "cloud-9", labels={"region": "eu"}))
    store(cloud(name="cloud-8"))
    others = {"EnvoyConnected": "True", "ResolvedRefs": "Unknown"}
    set_condition(api_server, "cloud-9", "False", others=others, message="spec.peer: is odd")

    assert table(api_server.kubectl("get", "ec", "cloud-8", "cloud-9")) == [
        ["NAME", "ACCEPTED", "ENVOY", "REGION", "PEER", "AGE"],
        ["cloud-8", AnyAge()],
        ["cloud-9", "False", "True", "eu", "203.0.113.9", AnyAge()],
    ]
    assert table(api_server.kubectl("get", "ec", "cloud-9", "-o", "wide")) == [
        [
            *("NAME", "ACCEPTED", "ENVOY", "REGION", "PEER"),
            *("REFS", "MODE", "REASON", "MESSAGE", "AGE"),
        ],
        [
            *("cloud-9", "False", "True", "eu", "203.0.113.9"),
            *("Unknown", "audit", "Invalid", "spec.peer: is odd"),
            AnyAge(),
        ],
    ]


class AnyAge:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(r"[0-9]+m?s?[0-9]*s?", other) is not None


def test_the_tables_of_cordons_and_service_types(api_server: ApiServer, store: Store) -> None:
    store(
        document("Cordon", "cloud-9", {"reason": "new disks until noon"}),
        document("ServiceType", "sensor", {"aliases": ["probe"]}),
    )
    set_condition(api_server, "cloud-9", "True", kind="cordon")
    set_condition(api_server, "sensor", "True", kind="servicetype")

    assert table(api_server.kubectl("get", "cordon", "cloud-9")) == [
        ["NAME", "ACCEPTED", "REASON", "AGE"],
        ["cloud-9", "True", "new disks until noon", AnyAge()],
    ]
    assert table(api_server.kubectl("get", "sty", "sensor")) == [
        ["NAME", "ACCEPTED", "PROTOCOL", "ALIASES", "AGE"],
        ["sensor", "True", "http", '["probe"]', AnyAge()],
    ]


def test_one_word_names_everything_of_scopeway(api_server: ApiServer, store: Store) -> None:
    store(cloud(), document("Cordon", "cloud-9", {}), document("ServiceType", "sensor", {}))

    assert set(api_server.kubectl("get", "scopeway", "-o", "name").stdout.split()) >= {
        "edgecloud.scopeway.io/cloud-9",
        "cordon.scopeway.io/cloud-9",
        "servicetype.scopeway.io/sensor",
    }


def test_wait_ends_when_the_present_version_is_accepted(
    api_server: ApiServer, store: Store
) -> None:
    wait = ("wait", "--for=condition=Accepted", "ec/cloud-9")
    store(cloud())
    set_condition(api_server, "cloud-9", "True")
    assert "condition met" in api_server.kubectl(*wait, "--timeout=60s").stdout

    store(cloud({"acceptMode": "audit"}))
    late = api_server.kubectl(*wait, "--timeout=1s", check=False)
    assert "timed out" in late.stderr, "the condition is about the version before"

    set_condition(api_server, "cloud-9", "True")
    assert "condition met" in api_server.kubectl(*wait, "--timeout=60s").stdout


@pytest.mark.parametrize("kind", ["EdgeCloud", "Cordon", "ServiceType"])
def test_the_status_is_written_apart_from_the_rest(
    api_server: ApiServer, store: Store, kind: str
) -> None:
    store(document(kind, "sensor", {}))
    before = api_server.get(kind, "sensor")
    set_condition(api_server, "sensor", "True", kind=kind)
    patch = {"status": {"conditions": []}, "metadata": {"annotations": {"a.example/b": "c"}}}
    api_server.kubectl("patch", kind, "sensor", "--type=merge", "-p", json.dumps(patch))

    after = api_server.get(kind, "sensor")
    assert [each["type"] for each in after["status"]["conditions"]] == ["Accepted"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_conditions_of_several_writers_stay_side_by_side(
    api_server: ApiServer, store: Store
) -> None:
    store(cloud())
    for kind in ("Accepted", "Audited"):
        condition = {
            **{"type": kind, "status": "True", "reason": "Yes", "message": ""},
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        head = {key: value for key, value in cloud().items() if key != "spec"}
        text = json.dumps({**head, "status": {"conditions": [condition]}})
        options = ("--server-side", "--subresource=status", f"--field-manager={kind}")
        api_server.kubectl("apply", *options, "-f", "-", text=text)

    found = api_server.get("ec", "cloud-9")["status"]["conditions"]
    assert sorted(each["type"] for each in found) == ["Accepted", "Audited"]


@pytest.fixture(scope="session")
def refusals(api_server: ApiServer) -> dict[str, str]:
    """What the API server says of each wrong object, by its text."""
    documents = [document(each["kind"], _name(each), each["spec"]) for each in REFUSALS]
    answers = judge(api_server, documents)
    pairs = zip(REFUSALS, answers, strict=True)
    return {json.dumps(each): answer.message for each, answer in pairs}


def _name(refusal: dict[str, Any]) -> str:
    return refusal.get("name", "sensor" if refusal["kind"] == "ServiceType" else "cloud-9")


@pytest.mark.parametrize(
    "refusal", REFUSALS, ids=lambda each: json.dumps(each["spec"])[:60].replace("::", ":")
)
def test_a_refusal_names_the_value_and_the_place(
    refusals: dict[str, str], refusal: dict[str, Any]
) -> None:
    message = refusals[json.dumps(refusal)].rpartition(" denied request: ")[2]
    message = re.sub(r'^\S+ "[^"]*" is invalid: ', "", message)
    message = re.sub(r"^\[(.*), <nil>: Invalid value: null: some validation .*\]$", r"\1", message)

    assert message == refusal["message"]


def test_two_services_with_one_port_are_told(api_server: ApiServer) -> None:
    front = {"address": "10.0.0.1", "port": 1, "ports": {"image": 81, "identity": 81}}
    (answer,) = judge(api_server, [cloud({"front": front})])

    assert re.search(
        r'spec.front.ports: Invalid value: "(image|identity)" has the port of another service',
        answer.message,
    )


@pytest.mark.parametrize("options", [["--server-side"], [], ["--validate=false"]])
def test_a_person_reads_the_sentence(api_server: ApiServer, options: list[str]) -> None:
    wrong = cloud({"services": {"glance": {"endpoints": [{"address": "10.0.0.1", "port": 80}]}}})
    done = api_server.kubectl(*("apply", *options, "-f", "-"), text=json.dumps(wrong), check=False)

    assert done.returncode
    assert done.stderr.strip() == (
        'The EdgeCloud "cloud-9" is invalid: spec.services: Invalid value: "glance" is an alias; '
        "the service type is 'image'"
    )


def test_defaults_that_columns_show_are_stored(api_server: ApiServer) -> None:
    rule = {"clouds": ["a"], "identity": {"clouds": ["a"]}}
    answers = judge(api_server, [cloud({"accept": [rule]}), document("ServiceType", "sensor", {})])

    assert [answer.stored and answer.stored["spec"] for answer in answers] == [
        {"accept": [rule], "acceptMode": "enforce"},
        {"protocol": "http"},
    ]


LONG_NAMES = [f"{number:0>30}" for number in range(8192)]
SERVICES = [f"s{number:0>39}" for number in range(64)]
ENDPOINT = {"address": "10.0.0.1", "port": 65535}
LABELS = ",".join(f"k{number}=v" for number in range(63))
LARGE: dict[str, Document] = {
    "8192 clouds": {
        "accept": [{"clouds": LONG_NAMES[:7000] + [n[-8:] for n in LONG_NAMES[7000:]]}]
    },
    "2048 clouds of an identity": {
        "accept": [{"clouds": LONG_NAMES[:4000], "identity": {"clouds": LONG_NAMES[:2048]}}]
    },
    "256 rules with all fields": {
        "accept": [
            {
                "clouds": LONG_NAMES[number * 4 : number * 4 + 4],
                "services": SERVICES[:8],
                "methods": ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "COPY"],
                "limits": {"requestsPerSecond": 1, "requestsAtOnce": "unlimited"},
                "fanout": False,
                "identity": {"clouds": ["a"], "roles": ["member", "reader"], "ids": "kept"},
            }
            for number in range(256)
        ]
    },
    "256 selectors of 64 labels": {
        "accept": [{"clouds": [f"[{LABELS},last={number}]" for number in range(256)]}]
    },
    "20 selectors of the greatest length": {
        "accept": [
            {
                "clouds": [
                    f"[{','.join(f'{label:a>63}={value:b>63}' for label in range(64))}]"
                    for value in range(20)
                ]
            }
        ]
    },
    "64 services of 64 endpoints": {
        "front": {**ENDPOINT, "ports": {word: at + 1 for at, word in enumerate(SERVICES)}},
        "services": {word: {"endpoints": [ENDPOINT] * 64, "path": "/a"} for word in SERVICES},
    },
}


@pytest.mark.parametrize("name", LARGE)
def test_the_largest_clouds_fit(api_server: ApiServer, store: Store, name: str) -> None:
    """Into etcd, into the budget of CEL at each write, and into a request."""
    whole = cloud(LARGE[name], labels={f"k{number}": "v" * 63 for number in range(64)})
    text = json.dumps(whole, separators=(",", ":")).encode()
    assert not isinstance(parse_json(text, "", "cloud-9"), Exception)
    assert len(text) <= MAX_BYTES

    store(whole)
    changed = copy.deepcopy(whole)
    changed["spec"]["acceptMode"] = "audit"
    store(changed)
    assert api_server.get("ec", "cloud-9")["spec"]["acceptMode"] == "audit"
    set_condition(api_server, "cloud-9", "True")


def test_an_earlier_kubernetes_takes_definitions_and_policies(
    make_api_server: Callable[..., ApiServer],
) -> None:
    """The oldest that this API server can emulate; it has what CEL had then."""
    api = make_api_server("--emulated-version=kube=1.34")
    good, bad = judge(api, [cloud(LARGE["64 services of 64 endpoints"]), cloud({"acceptMod": 1})])

    assert good.stored
    assert '"acceptMod" is not a field here' in bad.message


def test_a_stored_object_that_was_valid_before_can_be_changed(
    api_server: ApiServer, store: Store
) -> None:
    """A stricter definition concerns the fields that an update changes."""
    strict = definition(resources()[0])
    strict["metadata"] = {"name": "edgeclouds.ratcheting.example"}
    strict["spec"]["group"] = "ratcheting.example"
    loose = copy.deepcopy(strict)
    spec = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["services"].pop("x-kubernetes-validations")
    clouds = spec["properties"]["accept"]["items"]["properties"]["clouds"]["items"]
    clouds.pop("pattern")
    old = cloud({"services": {"glance": {"endpoints": [ENDPOINT]}}, "accept": [{"clouds": ["A"]}]})
    old["apiVersion"] = "ratcheting.example/v1alpha1"
    crd = f"crd/{strict['metadata']['name']}"
    try:
        api_server.apply(loose)
        api_server.kubectl("wait", "--for=condition=Established", crd)
        api_server.apply(old)
        api_server.apply(strict)

        changed = copy.deepcopy(old)
        changed["spec"]["acceptMode"] = "audit"
        _apply_when_strict(api_server, old)
        api_server.apply(changed)
        changed["spec"]["services"]["nova"] = {"endpoints": [ENDPOINT]}
        with pytest.raises(Exception, match="is an alias"):
            api_server.apply(changed)
    finally:
        api_server.kubectl("delete", crd, "--ignore-not-found")


def _apply_when_strict(api: ApiServer, old: Document) -> None:
    """Wait until the API server has taken the stricter definition."""
    other = json.dumps({**old, "metadata": {"name": "other"}})
    options = ("apply", "--server-side", "--dry-run=server", "-f", "-")
    for _ in range(100):
        if api.kubectl(*options, text=other, check=False).returncode:
            return
    raise AssertionError("the stricter definition is not in force")
