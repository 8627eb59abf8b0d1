"""What the language means: texts and the values they are read into."""

import pytest

from control_plane.scope import (
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
    ],
)
def test_an_expression_is_read_as(text: str, expected: Expression) -> None:
    assert parse_expression(text) == expected
    assert parse_expression(text.encode()) == expected


def test_precedence_is_cross_then_and_then_xor_then_or() -> None:
    tree = parse_expression("a | b ^ c & a % b")

    assert tree == Operation(
        "|", (A, Operation("^", (B, Operation("&", (C, Operation("%", (A, B)))))))
    )


def test_parentheses_override_precedence() -> None:
    assert parse_expression("(a | b) & c") == Operation("&", (Operation("|", (A, B)), C))


def test_one_operator_is_never_nested_in_itself() -> None:
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
def test_a_scope_is_read_as(text: str, expected: Scope) -> None:
    assert parse_scope(text) == expected


def test_the_json_form_of_openstackoid_is_a_scope() -> None:
    json = '{"compute": "cloud-1", "image": "cloud-2 | [region=eu]", \'network\': "a"}'

    assert parse_scope(json) == parse_scope(
        "compute:cloud-1; image: cloud-2 | [region=eu]; network: a"
    )


def test_the_limits_themselves_are_allowed() -> None:
    parse_expression("|".join(["a"] * 32))
    parse_expression("(" * 32 + "a" + ")" * 32)
    parse_scope("image:a" + " " * 2041)
    parse_expression(
        "|".join(["[a=b]"] * 31 + ["[a=b,c=d,e=f,g=h,i=j,k=l,m=n,o=p,q=r,s=t,u=v,w=x,y=z]"])
    )
    parse_scope("nova:" + "|".join(["[a=b,c=d]"] * 25) + ",glance: " + "|".join(["[a=b,c=d]"] * 25))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("|".join(["a"] * 33), "more than 32 clouds and labels in one expression"),
        ("(" * 33 + "a" + ")" * 33, "column 33: more than 32 levels of parentheses"),
        ("(" * 1000 + "a" + ")" * 1000, "column 33: more than 32 levels of parentheses"),
        ("(" * 1000, "column 33: more than 32 levels of parentheses"),
        (
            "|".join(["[a=b,c=d]"] * 26),
            "column 257: more than 256 words and signs in one expression",
        ),
        ("((((a))))&" * 200, "column 257: more than 256 words and signs in one expression"),
        ("a" * 10_000, "longer than 2048 bytes"),
        ("(" * 10_000, "longer than 2048 bytes"),
        ("a" + " " * 2048, "longer than 2048 bytes"),
    ],
)
def test_more_than_the_limits_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ScopeError) as in_expression:
        parse_expression(text)
    with pytest.raises(ScopeError) as in_scope:
        parse_scope("*:" + text)

    assert str(in_expression.value) == sentence
    assert in_scope.value.message == in_expression.value.message


def test_atoms_count_for_each_expression_alone() -> None:
    thirty = "|".join(["a"] * 30)

    assert len(parse_scope(f"image:{thirty};compute:{thirty}").bindings) == 2


def test_more_than_64_bindings_are_refused() -> None:
    with pytest.raises(ScopeError, match=r"^more than 64 bindings$"):
        parse_scope(";".join(["image:a"] * 65))


def test_a_cloud_is_never_called_local() -> None:
    assert not is_cloud_name("local")
    assert is_cloud_name("local-1")


def test_every_refusal_of_the_parser_is_a_400() -> None:
    with pytest.raises(ScopeError) as refusal:
        parse_scope("image:a |")

    assert refusal.value.status == 400
