"""The API server and the parsers judge documents alike; each difference is explained here.

Documents: mutations of valid ones (a value at each place; random ones with fixed seeds), what other
tests hold as wrong, and the corpus of the fuzzer.
"""

import copy
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fuzzing import corpus
from fuzzing import manifest as fuzzed
from harness.kubernetes import REPOSITORY, ApiServer
from harness.kubernetes_dry_run import judge
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.registry.documents import parse_json
from scopeway.control_plane.registry.interface import Declared

Document = dict[str, Any]

VALUES: list[Any] = [
    *(None, 0, 1, -1, 9, 10, 65535, 65536, 100_001, 1_000_001, 1.5, 80.0, True, False, "", {}, []),
    *("a", "local", "glance", "image", "identity.validate", "volume", "sensor", "A_b", "-a", "a-"),
    *("a" * 40, "a" * 41, "a" * 63, "a" * 64, "a" * 65, "a" * 254, "a" * 257, "/" + "a" * 512),
    *("10.0.0.1", "0.0.0.0", "::", "::1", "0::0", "::ffff:10.0.0.1", "::0.0.0.0", "2001:DB8::7"),
    *("fe80::1%eth0", "010.0.0.1", "1.2.3", "127.1", "0x7f000001", "2130706433", "a.b", "a..b"),
    *("a.b.", "_x", "1", "a.1", "a.0x", "a" * 63 + ".b", "a" * 64 + ".b", "A.Example"),
    *("/", "/a", "/a/", "/a//b", "/a?b", "/a/../b", "/a/%2e%2E/b", "/a/...", "/%zz", "/\u00e4"),
    *("/a%2F..%2fb", "/a/*/b", "/*", "a:80", "a:0", "a:00080", "a:65536", "a:99999", "a:123456"),
    *("[::1]", "[::1]:80", "[::ffff:10.0.0.1]", "[::]", "[zz]", "[::1", "http://a", "http://::1"),
    *(
        "https://a:443",
        "https://a/",
        "ftp://a",
        "http://[::1]:8",
        "http://[0::0]",
        "http://0.0.0.0",
    ),
    *(
        "http://[::ffff:1.2.3.4]",
        "https://user@a",
        "a b",
        "a\nb",
        " a",
        "\u2028",
        "\u00e9",
        "\u00a0",
    ),
    *("\u200b", "\ue000", "\U000e0001", "a\u0301", "\x7f", "\x00", "\ud800"),
    *("[a=b]", "[a=b,a=c]", "[ a = b , c=d ]", "[]", "[a]", "[a=B]", "[a=b,]", "[a=b=c]", "a=b"),
    *("[a\u00a0=b]", "[a=b]\n", "[a=b\n,c=d]", "[[a=b]]", "GET", "get", "TRACE", "mapped", "kept"),
    *("enforce", "audit", "off", "admin", "r:x_-.", "r x", "unlimited", "Unlimited", "http"),
    *("openstack", "authorization", "connection", "x-scopeway-a", "x_a", "X-A", "true"),
    *(
        ["image"],
        ["image", "image"],
        ["GET", "GET"],
        ["local"],
        [["a=b"]],
        [None],
        [{}],
        ["a", "a"],
    ),
    *({"image": 80}, {"glance": 80}, {"image": 8080}, {"image": 8443}, {"image": None}, {"x": 1}),
    *({"image": 81, "identity": 81}, {"I": 1}, {"": 1}, {"a" * 41: 1}, {"a.b": 1}),
]
"""What is put at each place of each document."""

RANDOM = 400
"""Random mutations of each document."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why some documents are judged differently, on purpose or because it cannot be helped."""

    why: str
    parser: str = ""
    """What each problem that the parser finds looks like; "": the parser takes the document."""
    server: str = ""
    """What the message of the API server looks like; "": it takes the document."""

    def fits(self, problems: Sequence[str], message: str) -> bool:
        if bool(problems) != bool(self.parser) or bool(message) != bool(self.server):
            return False
        return all(re.search(self.parser, problem) for problem in problems) and bool(
            re.search(self.server, message)
        )


EXPLANATIONS = [
    Explanation(
        "JSON has one kind of numbers: the API server stores 80.0 as 80.",
        parser=r": [0-9]+\.0 is (not a port|neither a whole number)",
    ),
    Explanation(
        "The API server stores half of a surrogate pair as the replacement character.",
        parser=r"\\ud800",
    ),
    Explanation(
        "CEL's isIP() knows no IPv4 address that is written as IPv6. The parser takes one in a "
        "Host header only.",
        server=r"host: Invalid value: \"\[::ffff:.*has no IPv6 address between its brackets",
    ),
    Explanation(
        "Two spellings of one IPv6 address: a comparison of addresses is over CEL's budget.",
        parser=r"spec\.peer\.port: [0-9]+ is used by the front, too",
    ),
    Explanation(
        "The labels of a selector of more than 1024 characters are not compared, because that "
        "could be over CEL's budget for one request.",
        parser=r"^spec\.accept\[0\]\.clouds\[0\]: \"\[k0=v,k0=v,xxx.* is not a cloud's name or",
    ),
    Explanation(
        "CEL cannot count the different services of all rules within its budget.",
        parser="more than 128",
    ),
    Explanation(
        "Neither a schema nor a policy sees the size of an object. The API server's own limit is "
        "1.5 MB.",
        parser="is not JSON: longer than 262144 bytes",
    ),
]


def test_the_api_server_and_the_parser_judge_alike(api_server: ApiServer) -> None:
    cases = list(_cases())
    answers = judge(api_server, [document for _, document in cases])
    used: set[str] = set()
    unexplained = []
    for (title, document), answer in zip(cases, answers, strict=True):
        ours = _parsed(document)
        problems = [] if isinstance(ours, Declared) else ours
        if answer.stored is not None and not problems:
            assert _parsed(answer.stored) == ours, f"{title}: what is stored means another thing"
        if bool(problems) == (answer.stored is None):
            continue
        fitting = [each.why for each in EXPLANATIONS if each.fits(problems, answer.message)]
        used |= set(fitting)
        if not fitting:
            refusal = f"the parser refuses: {problems}" if problems else answer.message
            unexplained.append(f"{title}: {refusal}")

    assert not unexplained, "\n".join(unexplained[:20])
    assert [each.why for each in EXPLANATIONS if each.why not in used] == [], "not needed any more"
    assert len(cases) > 10_000
    assert sum(answer.stored is not None for answer in answers) > 1000


def _parsed(document: Any) -> Declared | list[str]:
    """Return what a document declares, or why it is refused."""
    entry = parse_json(json.dumps(_own(document)).encode(), "")
    return [str(each) for each in entry.problems] if isinstance(entry, InvalidCloud) else entry


def _own(document: Any) -> Any:
    """Return what of an object counts for the registry."""
    if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
        return document
    metadata = {"name": document["metadata"].get("name")}
    labels = document["metadata"].get("labels")
    if labels is not None and document.get("kind") == "EdgeCloud":
        metadata["labels"] = labels
        if isinstance(labels, dict):
            metadata["labels"] = {key: labels[key] for key in labels if "/" not in key}
    return {**{key: document[key] for key in document if key != "status"}, "metadata": metadata}


def _cases() -> Iterator[tuple[str, Document]]:
    for name, whole in _valid().items():
        yield name, whole
        for at in _places(whole):
            yield from _mutations(name, whole, at)
        text = json.dumps(whole).encode()
        for seed in range(RANDOM):
            mutated = fuzzed.mutated(text, seed)
            if mutated is not None:
                yield f"{name}, seed {seed}", json.loads(mutated)
    for line, text in enumerate(corpus.read("manifest")):
        try:
            document = json.loads(text)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield f"corpus, line {line + 1}", document
    yield from _of_other_tests()
    yield from _of_several_values()


def _valid() -> dict[str, Document]:
    manifests = _module("test_manifest")
    return {
        "fuzzed": fuzzed.WHOLE,
        "manifest": manifests.WHOLE,
        "cordon": fuzzed.CORDON,
        "service type": _module("test_service_type").FULL,
    }


def _module(name: str) -> ModuleType:
    path = REPOSITORY / f"tests/control_plane/clouds/{name}.py"
    spec = importlib.util.spec_from_file_location(f"differential_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*at, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _places(each, (*at, index))


def _mutations(name: str, whole: Document, at: tuple[Any, ...]) -> Iterator[tuple[str, Document]]:
    where = ".".join(map(str, at))
    if at and at not in {("apiVersion",), ("kind",), ("metadata",)}:
        # every field is in the first of the two clouds
        few = name == "manifest" or not isinstance(_holder(whole, at)[at[-1]], str)
        for value in [each for each in VALUES if not isinstance(each, str)] if few else VALUES:
            yield f"{name}, {where}: {json.dumps(value)}", _with(whole, at, value)
        removed = copy.deepcopy(whole)
        del _holder(removed, at)[at[-1]]
        yield f"{name}, {where}: removed", removed
    document = copy.deepcopy(whole)
    node = _holder(document, (*at, None))
    if isinstance(node, dict) and at[:1] != ("metadata",):
        node["strange"] = 1
        yield f"{name}, {where}: strange field", document


def _with(whole: Document, at: tuple[Any, ...], value: Any) -> Document:
    document = copy.deepcopy(whole)
    _holder(document, at)[at[-1]] = copy.deepcopy(value)
    return document


def _holder(document: Any, at: tuple[Any, ...]) -> Any:
    for key in at[:-1]:
        document = document[key]
    return document


def _of_other_tests() -> Iterator[tuple[str, Document]]:
    manifests, types = _module("test_manifest"), _module("test_service_type")
    for path, value, *_ in _parameters(manifests.test_a_manifest_with_a_bad_field_is_refused):
        yield f"test_manifest, {path}: {json.dumps(value)[:60]}", manifests.changed(path, value)
    for changes, _ in _parameters(types.test_a_bad_document_is_refused_with_place_and_value):
        yield f"test_service_type, {json.dumps(changes)[:60]}", {**types.FULL, **changes}
    for spec, _ in _parameters(types.test_a_bad_field_of_the_spec_is_refused_with_place_and_value):
        yield f"test_service_type, {json.dumps(spec)[:60]}", types.document(**spec)
    for header in _parameters(
        types.test_headers_of_a_connection_and_of_scopeway_are_never_forwarded
    ):
        yield f"test_service_type, forward {header}", types.document(forward=[header])


def _of_several_values() -> Iterator[tuple[str, Document]]:
    """What one change of a document does not reach."""
    front = {"address": "a.example", "port": 8080, "ports": {"image": 81}}
    for address in ("a.example", "10.0.0.1", "2001:db8::1"):
        for ours in (None, "10.0.0.1", "0.0.0.0", "::", "2001:db8::1"):
            for theirs in (None, "10.0.0.1", "0.0.0.0", "::", "2001:db8::1", "2001:DB8:0::1"):
                for port in (8080, 81, 82):
                    peer = {"address": address, "port": port} | ({"bind": theirs} if theirs else {})
                    spec = {"front": front | ({"bind": ours} if ours else {}), "peer": peer}
                    yield f"listeners {spec}", _cloud(spec)
    for url in ("http://a", "https://a", "http://a:0080", "https://[2001:DB8::1]:443"):
        for tls in ({"certificate": "/c", "key": "/k"}, None):
            plain = {"address": "10.0.0.1", "port": 1, "url": url}
            yield f"{url}, {tls}", _cloud({"front": plain | ({"tls": tls} if tls else {})})
    for count in (64, 65):
        pairs = ",".join(f"k{number}=v" for number in range(count))
        yield f"{count} labels of a selector", _cloud(_rule(f"[{pairs}]"))
        labels = {f"k{number}": "v" for number in range(count)}
        yield f"{count} labels", _cloud({}, labels)
        words = [f"s{number}" for number in range(count)]
        services = {word: {"endpoints": [{"address": "a", "port": 1}] * count} for word in words}
        yield f"{count} services", _cloud({"services": services})
        yield f"{count} services of a rule", _cloud(_rule("a", services=words))
        yield f"{count} roles", _cloud(_rule("a", identity={"clouds": ["a"], "roles": words}))
        ports = {word: 100 + number for number, word in enumerate(words)}
        yield (
            f"{count} ports",
            _cloud({"front": {"address": "10.0.0.1", "port": 1, "ports": ports}}),
        )
    for count in (256, 257):
        yield f"{count} rules", _cloud({"accept": [{"clouds": ["a"]}] * count})
        selectors = [f"[k=v{number}]" for number in range(count)]
        yield f"{count} selectors", _cloud({"accept": [{"clouds": selectors}]})
        halves = {"clouds": selectors[:128], "identity": {"clouds": selectors[128:]}}
        yield f"{count} selectors in two lists", _cloud({"accept": [halves]})
    for count in (2048, 2049, 8192, 8193):
        clouds = [f"c{number}" for number in range(count)]
        yield f"{count} clouds", _cloud({"accept": [{"clouds": clouds}]})
        two = {"clouds": clouds[2048:] or ["a"], "identity": {"clouds": clouds[:2048]}}
        yield f"{count} clouds in two lists", _cloud({"accept": [two]})
        yield f"{count} clouds of an identity", _cloud(_rule("a", identity={"clouds": clouds}))
    for count in (128, 129):
        words = [f"s{number}" for number in range(count)]
        rules = [{"clouds": ["a"], "services": words[at : at + 43]} for at in range(0, count, 43)]
        yield f"{count} services of all rules", _cloud({"accept": rules})
    yield "labels of other tools", _cloud({}, {"app.kubernetes.io/name": "A_B", "region": "eu"})
    long = ",".join(f"{'x' * 60}{number}=v" for number in range(20))
    yield "a long selector", _cloud(_rule(f"[k0=v,k0=v,{long}]"))
    yield "a large cloud", _cloud({"accept": [{"clouds": [f"{n:0>63}" for n in range(4000)]}]})


def _cloud(spec: Document, labels: Any = None) -> Document:
    metadata = {"name": "cloud-9"} | ({"labels": labels} if labels else {})
    head = {"apiVersion": "scopeway.io/v1alpha1", "kind": "EdgeCloud"}
    return {**head, "metadata": metadata, "spec": spec}


def _rule(cloud: str, **fields: Any) -> Document:
    return {"accept": [{"clouds": [cloud], **fields}]}


def _parameters(test: Any) -> list[Any]:
    """Return what a test is called with."""
    (mark,) = [each for each in test.pytestmark if each.name == "parametrize"]
    return list(mark.args[1])
