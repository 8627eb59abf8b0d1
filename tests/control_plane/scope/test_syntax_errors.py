"""Syntax errors: the column, and what was expected there."""

import pytest

from scopeway.control_plane.scope import ScopeError, parse_expression, parse_scope

ATOM = "a cloud name, 'local', '[' or '('"
CLOUD_RULE = "letters, digits and '-', at most 63, a letter or digit at both ends"
LABEL_RULE = "letters, digits, '-', '_' and '.', at most 63, a letter or digit at both ends"

EXPRESSIONS = [
    ("cloud-1 |", f"column 10: {ATOM} is missing after '|'"),
    ("cloud-1 |   ", f"column 10: {ATOM} is missing after '|'"),
    ("cloud-1 ||", f"column 11: {ATOM} is missing after '||'"),
    ("", f"column 1: {ATOM} is missing"),
    ("  ", f"column 1: {ATOM} is missing"),
    ("| a", f"column 1: {ATOM} is missing before '|'"),
    ("a | | b", f"column 5: {ATOM} is missing between '|' and '|'"),
    ("a ||| b", f"column 5: {ATOM} is missing between '||' and '|'"),
    ("a & ", f"column 4: {ATOM} is missing after '&'"),
    ("a & &", "column 6: '[' is missing after '&'"),
    ("a & & b", "column 7: a prefix '&' stands before '[' only, not before 'b'"),
    ("a && b", "column 6: a prefix '&' stands before '[' only, not before 'b'"),
    ("a & & &", "column 7: a prefix '&' stands before '[' only, not before '&'"),
    ("a & & )", "column 7: a prefix '&' stands before '[' only, not before ')'"),
    ("&", "column 2: '[' is missing after '&'"),
    ("& a", "column 3: a prefix '&' stands before '[' only, not before 'a'"),
    ("a | & b", "column 7: a prefix '&' stands before '[' only, not before 'b'"),
    ("&[", "column 3: a label is missing after '['"),
    ("&[a=b] c", "column 8: an operator is missing between ']' and 'c'"),
    ("&(a)", "column 2: a prefix '&' stands before '[' only, not before '('"),
    ("a | )", f"column 5: {ATOM} is missing between '|' and ')'"),
    ("()", f"column 2: {ATOM} is missing between '(' and ')'"),
    ("a b", "column 3: an operator is missing between 'a' and 'b'"),
    ("a [b=c]", "column 3: an operator is missing between 'a' and '['"),
    ("a = b", "column 3: an operator is missing between 'a' and '='"),
    ("a:b", "column 2: an operator is missing between 'a' and ':'"),
    ("(a", "column 3: ')' is missing after 'a'"),
    ("((a)", "column 5: ')' is missing after ')'"),
    ("(a b)", "column 4: an operator or ')' is missing between 'a' and 'b'"),
    ("(a]", "column 3: ')' is missing between 'a' and ']'"),
    ("a)", "column 2: ')' has no '(' before it"),
    ("a]", "column 2: ']' has no '[' before it"),
    ("a}", "column 2: '}' has no '{' before it"),
    ("[", "column 2: a label is missing after '['"),
    ("[]", "column 2: a label is missing between '[' and ']'"),
    ("[=eu]", "column 2: a label is missing between '[' and '='"),
    ("[region", "column 8: '=' is missing after 'region'"),
    ("[region]", "column 8: '=' is missing between 'region' and ']'"),
    ("[region eu]", "column 9: '=' is missing between 'region' and 'eu'"),
    ("[region=", "column 9: a label's value is missing after '='"),
    ("[region=]", "column 9: a label's value is missing between '=' and ']'"),
    ("[region=eu", "column 11: ']' is missing after 'eu'"),
    ("[region=eu)", "column 11: ']' is missing between 'eu' and ')'"),
    ("[a=b c=d]", "column 6: ',' or ']' is missing between 'b' and 'c'"),
    ("[a=b,]", "column 6: a label is missing between ',' and ']'"),
    ("[a=b,a=c]", "column 6: the label 'a' is given twice"),
    ("[_a=b]", f"column 2: '_a' is neither a label nor a value: {LABEL_RULE}"),
    ("[a=b.]", f"column 4: 'b.' is neither a label nor a value: {LABEL_RULE}"),
    ("a | cloud_1", f"column 5: 'cloud_1' is not a cloud name: {CLOUD_RULE}"),
    ("-a", f"column 1: '-a' is not a cloud name: {CLOUD_RULE}"),
    ("a-", f"column 1: 'a-' is not a cloud name: {CLOUD_RULE}"),
    ("a.b", f"column 1: 'a.b' is not a cloud name: {CLOUD_RULE}"),
    ('a | "b-"', f"column 5: 'b-' is not a cloud name: {CLOUD_RULE}"),
    ('"*"', f"column 1: '*' is not a cloud name: {CLOUD_RULE}"),
    ("a" * 64, f"column 1: '{'a' * 64}' is not a cloud name: {CLOUD_RULE}"),
    ("a" * 2000, f"column 1: '{'a' * 70}...' is not a cloud name: {CLOUD_RULE}"),
    ('"a | b', "column 7: the closing quote is missing after 'b'"),
    ('"a | b" & c', "column 9: nothing may follow '\"', but there is '&'"),
    ("\"a | 'b'\"", "column 6: the closing '\"' is missing before \"'\""),
]


@pytest.mark.parametrize(("text", "sentence"), EXPRESSIONS)
def test_an_error_in_an_expression_names_the_column_and_what_is_missing(
    text: str, sentence: str
) -> None:
    with pytest.raises(ScopeError) as mistake:
        parse_expression(text)

    assert str(mistake.value) == sentence


SCOPES = [
    ("cloud-1", "column 8: ':' is missing after 'cloud-1'"),
    ("cloud-1 |", f"column 10: {ATOM} is missing after '|'"),
    ("a | b", "column 3: ':' is missing between 'a' and '|'"),
    ("{cloud-1 |}", "column 10: ':' is missing between 'cloud-1' and '|'"),
    ("glance cloud-1", "column 8: ':' is missing between 'glance' and 'cloud-1'"),
    ("{", "column 2: '}' is missing after '{'"),
    ("}", "column 1: a service is missing before '}'"),
    ("{{glance:a}}", "column 2: a service is missing between '{' and '{'"),
    ("{glance:a", "column 10: '}' is missing after 'a'"),
    ("{glance:a;", "column 11: '}' is missing after ';'"),
    ("glance:a}", "column 9: '}' has no '{' before it"),
    ("{glance:a};nova:b", "column 11: nothing may follow '}', but there is ';'"),
    ("{glance:(a}", "column 11: ')' is missing between 'a' and '}'"),
    ("{glance:a)}", "column 10: '}' is missing between 'a' and ')'"),
    (":a", "column 1: a service is missing before ':'"),
    (";", "column 1: a service is missing before ';'"),
    ("glance:a;;nova:b", "column 10: a service is missing between ';' and ';'"),
    ("glance:", f"column 8: {ATOM} is missing after ':'"),
    ("glance:;nova:b", f"column 8: {ATOM} is missing between ':' and ';'"),
    ("glance:a|;nova:b", f"column 10: {ATOM} is missing between '|' and ';'"),
    ("glance:*", f"column 8: {ATOM} is missing between ':' and '*'"),
    ("glance:a nova:b", "column 10: an operator or ';' is missing between 'a' and 'nova'"),
    ("{glance:a nova:b}", "column 11: an operator, ';' or '}' is missing between 'a' and 'nova'"),
    ("glance:a:b", "column 9: an operator or ';' is missing between 'a' and ':'"),
    ("nova:b; glanze:a", "column 9: no such service: 'glanze'; did you mean 'glance'?"),
    ("identity.validate:a", "column 1: no such service: 'identity.validate'"),
    ("local:a", "column 1: no such service: 'local'"),
    ("glance:a;glance:b", "column 10: the service 'image' is bound twice"),
    ("glance:a; image:b", "column 11: the service 'image' is bound twice"),
    ("*:a;*:b", "column 5: the service '*' is bound twice"),
    ("glance: a & &", "column 14: '[' is missing after '&'"),
    ("{glance: a & &}", "column 15: a prefix '&' stands before '[' only, not before '}'"),
    ("*: a & b", "column 6: '*' takes no '&': bind each service by its name"),
    ("keystone: a ^ b", "column 13: identity takes one cloud, not '^'"),
    ("keystone: &[b=c]", "column 11: identity takes one cloud, not '&'"),
    ("nova: &[b=c]; glance: &[b=c]", "column 23: only one service may have '&['"),
    (
        "nova: a&b; glance: a&b&c&d&e&f&g&h&i",
        "column 21: more than 8 clouds here, and another service has '&' or '^', too",
    ),
    ("glance:a\nnova:b", "column 9: the character '\\n' is not part of the scope language"),
    ("glance:zürich", "column 9: the character '\\xfc' is not part of the scope language"),
    ("glance:a/b", "column 9: the character '/' is not part of the scope language"),
    (b"glance:\xff", "column 8: the byte 0xff is not UTF-8"),
    ("glance:z\u00fc".encode() + b"\xff", "column 10: the byte 0xff is not UTF-8"),
    ("\ud800", "column 1: the character '\\ud800' is not part of the scope language"),
    ("\u212aeystone:a", "column 1: the character '\\u212a' is not part of the scope language"),
]


@pytest.mark.parametrize(("text", "sentence"), SCOPES)
def test_an_error_in_a_scope_names_the_column_and_what_is_missing(
    text: str | bytes, sentence: str
) -> None:
    with pytest.raises(ScopeError) as mistake:
        parse_scope(text)

    assert str(mistake.value) == sentence


def test_columns_count_in_the_text_as_it_was_written() -> None:
    with pytest.raises(ScopeError) as mistake:
        parse_scope("  {  Glance : Cloud-1 ||  }")

    assert mistake.value.column == 27
    assert mistake.value.message == f"{ATOM} is missing between '||' and '}}'"
