"""The tree form of scopes, and the operators that an expression has besides `|`."""

import pytest

from scope_text import canonical
from scopeway.control_plane.scope import operator_other_than_or, parse_expression, parse_scope


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("A", "a"),
        ("local", "local"),
        ("((a))||(b)", "a | b"),
        ("(a|b)|c", "a | b | c"),
        ("(a&b)|c", "a & b | c"),
        ("(a|b)&c", "(a | b) & c"),
        ("a%(b&(c^(d|e)))", "a % (b & (c ^ (d | e)))"),
        ("((a%b)&c)^d|e", "a % b & c ^ d | e"),
        ("[tier=edge, region=eu]", "[region=eu,tier=edge]"),
        ("&[tier=edge, region=eu]", "&[region=eu,tier=edge]"),
        ("(&[tier=edge])&a", "&[tier=edge] & a"),
        ("(a|b)&&[c=d]", "(a | b) & &[c=d]"),
    ],
)
def test_an_expression_is_shown_with_the_fewest_parentheses(text: str, form: str) -> None:
    assert canonical(parse_expression(text)) == form
    assert parse_expression(form) == parse_expression(text)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", "{}"),
        ("glance:a", "{image: a}"),
        ('{"nova":"a||b",*:local,glance:[b=c]}', "{*: local; compute: a | b; image: [b=c]}"),
    ],
)
def test_a_scope_is_shown_with_its_bindings_sorted(text: str, form: str) -> None:
    assert canonical(parse_scope(text)) == form
    assert parse_scope(form) == parse_scope(text)


@pytest.mark.parametrize(
    ("text", "operator"),
    [
        ("a", None),
        ("local", None),
        ("[a=b]", None),
        ("a|[a=b]|local", None),
        ("a&b", "&"),
        ("a^b", "^"),
        ("a%b", "%"),
        ("a | b & c", "&"),
        ("a | (b ^ c) | d & e", "^"),
        ("a & (b % c)", "%"),
        ("a | b & c ^ d % e", "%"),
        ("&[a=b]", "&"),
        ("[a=b] | &[a=b]", "&"),
        ("(a & b) ^ c", "^"),
    ],
)
def test_an_operator_other_than_or_is_found_at_any_depth(text: str, operator: str | None) -> None:
    assert operator_other_than_or(parse_expression(text)) == operator
