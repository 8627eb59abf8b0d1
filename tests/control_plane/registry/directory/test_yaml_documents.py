import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.registry.directory.yaml_documents import NotYaml, load, split


def values(text: str) -> list[tuple[int, object]]:
    return [(line, load(document)) for line, document in split(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# nothing\n---\n# nothing\n--- # nothing\n", [(2, None), (4, None)]),
        ("a: 1", [(1, {"a": 1})]),
        ("a: 1\n---\nb: 2\n", [(1, {"a": 1}), (2, {"b": 2})]),
        ("---\na: 1\n--- # comment\nb: 2\n", [(1, {"a": 1}), (3, {"b": 2})]),
        ("--- {a: 1}\n--- [b]\n", [(1, {"a": 1}), (2, ["b"])]),
        ("a: 1\n...\n# end\n---\nb: 2\n...\n", [(1, {"a": 1}), (4, {"b": 2})]),
        ("a: 1\n...\nb: 2\n", [(1, {"a": 1}), (2, {"b": 2})]),
        ("%YAML 1.1\n---\na: 1\n", [(2, {"a": 1})]),
        ("a: |\n  one\n  ---\n  two\n", [(1, {"a": "one\n---\ntwo\n"})]),
        ("a: --- b\n---c: 1\n", [(1, {"a": "--- b", "---c": 1})]),
        ("a: 1\r\n---\r\nb: 2\r\n", [(1, {"a": 1}), (2, {"b": 2})]),
    ],
)
def test_a_yaml_file_is_split_into_documents(text: str, expected: list[tuple[int, object]]) -> None:
    assert values(text) == expected


def test_yaml_scalars_are_read_as_their_types() -> None:
    text = "[1, 0x10, '1', 1.5, true, 'true', null, ~, text, 2026-01-01, \"a\\tb\", !!str 5]"

    assert load(text) == [
        *(1, 16, "1", 1.5, True, "true", None, None, "text", "2026-01-01", "a\tb", "5")
    ]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", 4, "duplicate key 'c'"),
        ("a: &x [1]\nb: *x\n", 2, "the alias *x is not allowed here"),
        ("a: !!python/name:os.system x", 1, "the tag 'tag:yaml.org,2002:python/name:os.system'"),
        ("a: !thing {}", 1, "the tag '!thing' is not allowed here"),
        ("a: !!int x", 1, "'x' is not what its tag says"),
        ("? [a]\n: 1", 1, "a key that is not a scalar"),
        ("a: b: c", 1, "mapping values are not allowed in this context"),
        ("a:\n\tb: 1", 2, "found character that cannot start any token"),
        ("a: 'x", 1, "found unexpected end of stream"),
        ("a: \x01", 1, "control characters are not allowed"),
        ("[" * 24 + "a" + "]" * 24, 1, "nested deeper than 24 levels"),
        ("[" * 100_000, 1, "nested deeper than 24 levels"),
        ("- " * 100_000, 1, "nested deeper than 24 levels"),
        ("{a: " * 60_000, 1, "nested deeper than 24 levels"),
        ("a" * 262_145, 1, "longer than 262144 characters"),
        ("1" * 101, 1, "a number of more than 100 characters"),
        (f"a: 0x{'f' * 5000}", 1, "a number of more than 100 characters"),
        (f"a: {'1:' * 100_000}1", 1, "a number of more than 100 characters"),
        (f"a: *{'b' * 5000}", 1, f"the alias *{'b' * 60}... is not allowed here"),
        (f"a: !{'b' * 5000} 1", 1, f"the tag '!{'b' * 59}...' is not allowed here"),
        (f"{{1{'0' * 900}: 1}}", 1, "a number of more than 100 characters"),
        (f"{{{'a' * 900}: 1, {'a' * 900}: 1}}", 1, f"duplicate key '{'a' * 60}...'"),
        (f"a: !!bool {'b' * 5000}", 1, f"'{'b' * 60}...' is not what its tag says"),
        ("a: 1\r--- {b: 2}\r", 2, "a second document must begin on a line of its own"),
    ],
)
def test_unsupported_yaml_is_refused_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(NotYaml) as caught:
        load(text)

    assert reason in caught.value.reason
    assert caught.value.line == line


def test_yaml_is_read_up_to_its_limits_of_size_and_depth() -> None:
    assert load("ä" * 262_144) == "ä" * 262_144
    assert load("[" * 23 + "a" + "]" * 23) == yaml.safe_load("[" * 23 + "a" + "]" * 23)
    assert load("1" * 100) == int("1" * 100)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.lists(PLAIN, max_size=4), st.booleans())
def test_the_output_of_a_yaml_library_is_read_back(documents: list[object], flow: bool) -> None:
    text = yaml.safe_dump_all(
        documents, explicit_start=True, default_flow_style=flow, allow_unicode=False
    )

    assert [load(document) for _, document in split(text)] == documents


@given(st.text(st.sampled_from(" \n\r-.:#%&*!|>'\"[]{}a1\x00\u2028"), max_size=40))
def test_the_yaml_reader_raises_no_error_but_not_yaml(text: str) -> None:
    reasons = []
    for _, document in split(text):
        try:
            load(document)
        except NotYaml as refused:
            reasons.append(refused.reason)

    assert all(reasons)
