"""Target names, for which an Envoy asks."""

import subprocess
import sys

import pytest

from scopeway.control_plane.scope import (
    SERVICE_TYPES,
    CloudName,
    Operation,
    ScopeError,
    Target,
    is_cheap_to_parse,
    parse_target,
    target_name,
)


def test_a_target_name_is_service_at_expression() -> None:
    assert target_name("image", "cloud-2|cloud-3") == "image@cloud-2|cloud-3"


@pytest.mark.parametrize(
    "service", [*sorted(SERVICE_TYPES), "identity.validate", "sensor", "s", "s" * 40]
)
def test_a_generated_target_name_is_parsed(service: str) -> None:
    name = target_name(service, "cloud-1")

    assert parse_target(name) == Target(service=service, expression=CloudName("cloud-1"))
    assert parse_target(name.encode()) == parse_target(name)


def test_another_spelling_of_a_target_name_is_an_equal_target() -> None:
    expected = Operation("|", (CloudName("a"), CloudName("b")))

    assert parse_target("image@( A || b )").expression == expected


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "'@' is missing in the target name ''"),
        ("image", "'@' is missing in the target name 'image'"),
        ("@a", "no such service: ''"),
        (f"{'s' * 41}@a", f"no such service: '{'s' * 41}'"),
        ("-sensor@a", "no such service: '-sensor'"),
        ("Image@a", "no such service: 'Image'"),
        ("*@a", "no such service: '*'"),
        ("identity.other@a", "no such service: 'identity.other'"),
        (
            "image@cloud-1|",
            "column 9: a cloud name, 'local', '[' or '(' is missing after '|' (in 'cloud-1|')",
        ),
        ("image@a@b", "column 2: the character '@' is not part of the scope language (in 'a@b')"),
        ("image@%REQ(authorization)%", None),
        (b"image@\xff", None),
        (b"\xff\xfe", None),
        ("image@{a}", None),
        ("image@a;b", None),
        ("identity.validate@a|b", "identity.validate takes one cloud, not 'a|b'"),
        ("identity.validate@[a=b]", "identity.validate takes one cloud, not '[a=b]'"),
        ("identity.validate@a&b", "identity.validate takes one cloud, not 'a&b'"),
        ("identity.validate@local", "identity.validate takes one cloud, not 'local'"),
        ("image@" + " " * 2048 + "a", "longer than 2048 bytes (in '" + " " * 70 + "...')"),
        ("image@" + "a" * 55_000, "the target name is too long"),
        ("a" * 2100, "'@' is missing in the target name '" + "a" * 70 + "...'"),
    ],
)
def test_a_malformed_target_name_is_refused(name: str | bytes, sentence: str | None) -> None:
    with pytest.raises(ScopeError) as refusal:
        parse_target(name)

    assert refusal.value.status == 400
    assert sentence is None or str(refusal.value) == sentence
    assert str(refusal.value).isascii()


@pytest.mark.parametrize("name", ["image@a", "image@a|b", "image@a&b&c"])
def test_the_usual_target_names_are_read_without_the_parser(name: str) -> None:
    program = f"""if True:
        import sys
        from scopeway.control_plane.scope import is_cheap_to_parse, parse_target
        parse_target({name!r})
        print(is_cheap_to_parse({name!r}), "lark" in sys.modules)
    """
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert output.split() == ["True", "False"]


@pytest.mark.parametrize("name", ["image@a|b&c", "image@&[a=b]", "image@a&local", "image@a^b"])
def test_other_target_names_are_not_cheap_to_read(name: str) -> None:
    assert not is_cheap_to_parse(name)


def test_columns_of_target_errors_count_within_the_expression() -> None:
    with pytest.raises(ScopeError) as refusal:
        parse_target("image@a b")

    assert refusal.value.column == 3
