"""YAML files of the registry, beside what the library itself makes of a document."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from zlib import crc32

import yaml

from fuzzing.manifest import CORDON, SERVICE_TYPE, WHOLE
from fuzzing.steps import steps
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.manifest import MAX_PROBLEMS
from scopeway.control_plane.registry.directory.files import read_manifests
from scopeway.control_plane.registry.directory.yaml_documents import (
    MAX_DEPTH,
    MAX_NUMBER,
    NotYaml,
    load,
    split,
)
from scopeway.control_plane.registry.documents import parse_json

DICTIONARY = (
    *("---", "...", "\n", "\r\n", "\r", ": ", "- ", "? ", "# ", "\t", "&a ", "*a", "!!str ", "!t "),
    *("|", ">", "|-\n", "'", '"', "\\u0041", "\\x00", "{", "}", "[", "]", ",", "~", "null", "true"),
    *(
        "0x1f",
        "0o17",
        "0b1",
        "1:30",
        "1_0",
        ".inf",
        ".nan",
        "1e3",
        "<<: ",
        "=",
        "%YAML 1.1\n",
        "!!",
    ),
    *(
        "!!int ",
        "!!float ",
        "!!bool ",
        "!!null ",
        "2026-01-01",
        "\ufeff",
        "\u2028",
        "\x85",
        "@",
        "`",
    ),
    *("apiVersion", "kind", "metadata", "name", "labels", "spec", "EdgeCloud", "Cordon", "cloud-1"),
    *("ServiceType", "aliases", "protocol", "forward", "lists", "sensor"),
    *(
        "scopeway.io/v1alpha1",
        "front",
        "peer",
        "services",
        "endpoints",
        "address",
        "port",
        "accept",
    ),
)


def seeds() -> Iterator[bytes]:
    whole = yaml.safe_dump(WHOLE, sort_keys=False)
    yield from (whole.encode(), yaml.safe_dump(WHOLE, default_flow_style=True).encode())
    yield f"---\n{yaml.safe_dump(CORDON)}---\n{yaml.safe_dump(CORDON)}...\n# end\n".encode()
    yield f"{yaml.safe_dump(SERVICE_TYPE)}---\n{yaml.safe_dump(WHOLE)}".encode()
    small = "apiVersion: scopeway.io/v1alpha1\nkind: EdgeCloud\nmetadata: {name: a}\n"
    yield f"{small}---\n{small}--- # twice\n{small}".encode()
    for text in (
        *("a: 1\n...\nb: [1, 0x10, 1.5, .inf, ~, yes, 1:30, 2026-01-01]\n", "a: |\n  b\n  ---\n c"),
        *("a: &x [1]\nb: *x", "a: !!int x", "? [a]\n: 1", "a:\n\tb: 1", '"\\ud800"', "<<: {a: 1}"),
        *("%YAML 1.1\n---\na: 1", "\ufeffa: 1", "a: b: c", "{a: 1, a: 2}", "{.nan: 1, .nan: 2}"),
        *(
            "[" * 24 + "]" * 24,
            "[" * 24 + "a" + "]" * 24,
            "[" * 25 + "]" * 25,
            "{a: " * 24 + "}" * 24,
        ),
        *(
            "1" * 100,
            "1" * 101,
            "{1: 1, 0x1: 1}",
            f"*{'a' * 900}",
            f"!{'a' * 900} 1",
            "a: !!set {}",
        ),
        *(
            f"{{{'a' * 900}: 1, {'a' * 900}: 1}}",
            f"!!int {'a' * 900}",
            "!!float ",
            "---\n~\n--- ~\n",
            "...",
            "{}a",
            "\0",
        ),
        *("[" * 30, "- " * 30, "!!float x", "'a\n\n b'", "a: 'x", "=: 1", "--- >\n a\n\n b\n"),
    ):
        yield text.encode()


def check(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # the file is refused whole
    lines = text.count("\n") + 1
    for line, document in split(text):
        assert 1 <= line <= lines
        assert document in text
        _document(document)
    _file(text)
    if data and crc32(data) % 64 == 0:
        _costs(text)


def _document(document: str) -> None:
    why = _why_not(document)
    if why and "duplicate anchor" in why:
        return  # the library minds, also where no alias asks which of them
    try:
        value = load(document)
    except NotYaml as refused:
        _sentence(refused.reason, 300)
        assert 1 <= refused.line <= len(document) + 1
        assert why, refused.reason
        return
    assert not why, why
    wanted = yaml.load(document, _Texts)
    assert repr(value) == repr(wanted)


class _Texts(yaml.CSafeLoader):
    """Of which timestamps and merges are texts."""

    def flatten_mapping(self, node: Any) -> None:
        pass


for _kind in ("timestamp", "merge", "value"):
    _Texts.add_constructor(
        f"tag:yaml.org,2002:{_kind}", yaml.constructor.SafeConstructor.construct_yaml_str
    )
_MAKER = _Texts("")


def _why_not(document: str) -> str | None:
    """Why a document is to be refused; None: it isn't."""
    depth = 1
    try:
        for event in yaml.parse(document, _Texts):
            if isinstance(event, yaml.AliasEvent):
                return "an alias"
            if isinstance(event, yaml.ScalarEvent) and event.tag == "!":
                return "a tag"
            if isinstance(event, yaml.CollectionStartEvent):
                if event.tag is not None:
                    return "a tag"
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            # an empty collection is no deeper than itself
            if depth > MAX_DEPTH and not isinstance(event, yaml.CollectionStartEvent):
                return "depth"
            if depth > MAX_DEPTH + 1:
                return "depth"
        node = yaml.compose(document, _Texts)  # a second document is an error
    except yaml.YAMLError as error:
        return str(error)
    return None if node is None else _why_not_this(node)


def _why_not_this(node: Any) -> str | None:
    if isinstance(node, yaml.ScalarNode):
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind in {"int", "float"} and len(node.value) > MAX_NUMBER:
            return "a long number"
        return _scalar(node)[0]
    if isinstance(node, yaml.SequenceNode):
        return next(filter(None, map(_why_not_this, node.value)), None)
    keys = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            return "a key that is none"
        why = _why_not_this(key) or _why_not_this(value)
        if why:
            return why
        made = _scalar(key)[1]
        if made in keys:
            return "twins"
        keys.add(made)
    return None


def _scalar(node: Any) -> tuple[str | None, Any]:
    """Why it is refused, or what it is."""
    try:
        return None, _MAKER.construct_object(node)
    except (yaml.YAMLError, ValueError, LookupError) as error:
        return repr(error), None
    finally:
        _MAKER.constructed_objects.clear()  # it would keep all of them


def _file(text: str) -> None:
    found = read_manifests(text, "f.yaml")
    good = {}
    for place, entry in found.entries.items():
        assert place.startswith("f.yaml")
        assert entry.name is None or f"#{entry.name}" in place
        if isinstance(entry, InvalidCloud):
            _sentence(str(entry), 4000)
            assert 1 <= len(entry.problems) <= MAX_PROBLEMS
        else:
            good[place] = entry
    assert found.all_identified == all(entry.name for entry in found.entries.values())
    assert len(found.entries) == len(_values(text))
    assert sorted(entry.name for entry in good.values()) == sorted(_by_json(text))
    again = read_manifests(text, "f.yaml", found.documents)
    assert list(again.entries) == list(found.entries)
    known = set(map(id, found.documents.values()))
    assert all(id(again.entries[place]) in known for place in good), "it was parsed again"


def _values(text: str) -> list[Any]:
    """What stands in the documents; NotYaml where that cannot be told."""
    found: list[Any] = []
    for _, document in split(text.removeprefix("\ufeff")):
        try:
            value = load(document)
        except NotYaml:
            value = NotYaml
        found += [] if value is None else [value]
    return found


def _by_json(text: str) -> Iterator[str]:
    """The clouds of the documents as etcd would have them."""
    for value in _values(text):
        with suppress(TypeError):
            entry = parse_json(json.dumps(value).encode(), "/key")
            if not isinstance(entry, InvalidCloud):
                yield entry.name


def _sentence(text: str, longest: int) -> None:
    """One line for people."""
    assert text
    assert text.isprintable(), text
    assert len(text) <= longest, len(text)


def _costs(text: str) -> None:
    """Many of them in one file, or in one document, cost as much as they are long."""
    some = 5_000 // (len(text) + 1) + 1
    for long in (f"{text}\n" * some, f"---\n{text}\n" * some):
        taken = steps(lambda long=long: read_manifests(long, "f.yaml"))  # type: ignore[misc]
        assert taken <= 60 * (len(long) + 100), f"{taken} steps for {len(long)} characters"
