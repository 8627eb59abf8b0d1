"""The scope language: texts and the values into which they are parsed."""

from collections.abc import Callable
from typing import Any

import pytest

from scopeway.control_plane.scope import (
    SERVICE_TYPES,
    Binding,
    CloudName,
    Expression,
    LabelSelector,
    Local,
    Operation,
    Scope,
    ScopeError,
    is_cloud_name,
    parse_expression,
    parse_scope,
)

A, B, C = CloudName("a"), CloudName("b"), CloudName("c")
EVERY = LabelSelector((("region", "eu"),), every=True)


def scope(**bindings: Expression) -> Scope:
    return Scope(tuple(Binding(service, bindings[service]) for service in sorted(bindings)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", A),
        ("cloud-999", CloudName("cloud-999")),
        ("42", CloudName("42")),
        ("a" * 63, CloudName("a" * 63)),
        ("local", Local()),
        (" LOCAL ", Local()),
        ("local-1", CloudName("local-1")),
        ("(a)", A),
        ("((a))", A),
        ("a|b", Operation("|", (A, B))),
        ("a || b", Operation("|", (A, B))),
        ("a | b | c", Operation("|", (A, B, C))),
        ("a & b", Operation("&", (A, B))),
        ("a ^ b", Operation("^", (A, B))),
        ("a % b", Operation("%", (A, B))),
        ("[region=eu]", LabelSelector((("region", "eu"),))),
        ("[b=2,a=1]", LabelSelector((("a", "1"), ("b", "2")))),
        ("[Zone.io_x=EU-1]", LabelSelector((("zone.io_x", "eu-1"),))),
        ("[local=local]", LabelSelector((("local", "local"),))),
        ('"a"', A),
        ("'a | b'", Operation("|", (A, B))),
        ("\"a\" | 'b'", Operation("|", (A, B))),
        ('[region="eu"]', LabelSelector((("region", "eu"),))),
        ("&[region=eu]", EVERY),
        ("& [ region = eu ]", EVERY),
        ("a & &[region=eu]", Operation("&", (A, EVERY))),
        ("&[region=eu] & a", Operation("&", (EVERY, A))),
        ("a &[region=eu]", Operation("&", (A, LabelSelector((("region", "eu"),))))),
        ("(&[region=eu])", EVERY),
    ],
)
def test_an_expression_is_parsed_into_its_tree(text: str, expected: Expression) -> None:
    assert parse_expression(text) == expected
    assert parse_expression(text.encode()) == expected


def test_precedence_is_cross_then_and_then_xor_then_or() -> None:
    tree = parse_expression("a | b ^ c & a % b")

    assert tree == Operation(
        "|", (A, Operation("^", (B, Operation("&", (C, Operation("%", (A, B)))))))
    )


def test_parentheses_override_precedence() -> None:
    assert parse_expression("(a | b) & c") == Operation("&", (Operation("|", (A, B)), C))


def test_nested_operations_of_one_operator_are_flattened() -> None:
    assert parse_expression("a | (b | c)") == Operation("|", (A, B, C))
    assert parse_expression("((a | b) | c)") == Operation("|", (A, B, C))
    assert parse_expression("a & ((b & c))") == Operation("&", (A, B, C))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", scope()),
        (" \t", scope()),
        ("{}", scope()),
        ("{ }", scope()),
        ("image:a", scope(image=A)),
        ("{image:a}", scope(image=A)),
        ("{image:a;}", scope(image=A)),
        ("image:a,", scope(image=A)),
        ("{nova:b;glance:a}", scope(compute=B, image=A)),
        ("{nova:b,glance:a}", scope(compute=B, image=A)),
        ("Nova : B ; GLANCE : A", scope(compute=B, image=A)),
        ("*:a;glance:b", Scope((Binding("*", A), Binding("image", B)))),
        ('{"*": "a"}', Scope((Binding("*", A),))),
        (
            "{image:[a=b,c=d],compute:a|b}",
            scope(image=LabelSelector((("a", "b"), ("c", "d"))), compute=Operation("|", (A, B))),
        ),
    ],
)
def test_a_scope_is_parsed_into_its_bindings(text: str, expected: Scope) -> None:
    assert parse_scope(text) == expected


def test_the_json_form_of_openstackoid_is_a_scope() -> None:
    json = '{"compute": "cloud-1", "image": "cloud-2 | [region=eu]", \'network\': "a"}'

    assert parse_scope(json) == parse_scope(
        "compute:cloud-1; image: cloud-2 | [region=eu]; network: a"
    )


def refusal(read: Callable[[Any], object], text: str | bytes) -> str:
    with pytest.raises(ScopeError) as refused:
        read(text)
    assert refused.value.status == 400
    return str(refused.value)


class TestLimits:
    """So much is allowed, and one more is not."""

    @pytest.mark.parametrize("given", [str, str.encode])
    @pytest.mark.parametrize(("read", "text"), [(parse_scope, "image:a"), (parse_expression, "a")])
    def test_the_bytes_of_a_scope_are_limited(
        self, read: Callable[[Any], object], text: str, given: Callable[[str], str | bytes]
    ) -> None:
        longest = text.ljust(2048)
        read(given(longest))

        for longer in (longest + " ", "(" * 10_000):
            assert refusal(read, given(longer)) == "longer than 2048 bytes"

    def test_the_bindings_of_a_scope_are_limited(self) -> None:
        """There can be one for each service and one for all others."""
        most = ";".join(f"{service}:a" for service in ("*", *SERVICE_TYPES))
        assert {each.service for each in parse_scope(most).bindings} == {"*", *SERVICE_TYPES}

        for service in ("*", "glance"):
            assert "is bound twice" in refusal(parse_scope, f"{most};{service}:a")

    @pytest.mark.parametrize("atom", ["a", "local", "[a=b]"])
    def test_clouds_and_labels_of_one_expression_are_limited(self, atom: str) -> None:
        most = "|".join([atom] * 32)
        parse_scope(f"image:{most};compute:{most}")

        assert refusal(parse_scope, f"compute:a;image:{most}|a") == (
            "more than 32 clouds and labels in one expression"
        )

    def test_levels_of_parentheses_are_limited(self) -> None:
        parse_expression("(" * 32 + "a" + ")" * 32)

        for deeper in ("(" * 33 + "a" + ")" * 33, "(" * 1000 + "a" + ")" * 1000, "(" * 1000):
            sentence = "more than 32 levels of parentheses"
            assert refusal(parse_expression, deeper) == f"column 33: {sentence}"
            assert refusal(parse_scope, f"*:{deeper}") == f"column 35: {sentence}"

    def test_tokens_of_one_expression_are_limited(self) -> None:
        """An expression that is whole has an odd number of them."""
        first, second = (",".join(f"k{n}=v" for n in range(labels)) for labels in (31, 32))
        most = f"[{first}]|[{second}]"
        parse_expression(most)
        parse_scope(f"image:{most};compute:{most}")

        assert "more than" not in refusal(parse_expression, f"{most}|")
        assert refusal(parse_expression, f"{most}|a") == (
            f"column {len(most) + 2}: more than 256 words and signs in one expression"
        )
        assert "column 257: more than 256 words" in refusal(parse_expression, "((((a))))&" * 200)


def test_a_cloud_cannot_be_named_local() -> None:
    assert not is_cloud_name("local")
    assert is_cloud_name("local-1")


def test_every_refusal_of_the_parser_has_status_400() -> None:
    with pytest.raises(ScopeError) as refusal:
        parse_scope("image:a |")

    assert refusal.value.status == 400
