"""RFC 9651 as far as it is read, with the examples of the RFC where it has some."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.openstack_client.structured_fields import (
    InvalidField,
    Item,
    parse_dictionary,
    parse_list,
)


def test_a_list_keeps_the_order_and_the_parameters_of_its_items() -> None:
    assert parse_list('a;status=201;id="4f", 9; x ,"b c";y=?0') == [
        Item("a", {"status": 201, "id": "4f"}),
        Item(9, {"x": True}),
        Item("b c", {"y": False}),
    ]


def test_a_dictionary_keeps_the_last_value_of_a_key() -> None:
    assert parse_dictionary("asked=40,\tanswered=38;x=1, flag;y=2, asked=41") == {
        "asked": Item(41, {}),
        "answered": Item(38, {"x": 1}),
        "flag": Item(True, {"y": 2}),
    }


def test_an_inner_list_keeps_its_items_and_its_own_parameters() -> None:
    assert parse_dictionary('a=1, b=( c;x=1  "d" );y, e=()') == {
        "a": Item(1, {}),
        "b": Item((Item("c", {"x": 1}), Item("d", {})), {"y": True}),
        "e": Item((), {}),
    }


@pytest.mark.parametrize("text", ["(a", "(a b", "(a,b)", "((a))", '(a"b")', "(a)b", "(a;)"])
def test_a_malformed_inner_list_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_list(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("-999999999999999", -999999999999999),
        ("4.5", 4.5),
        ('"say \\"hi\\" \\\\"', 'say "hi" \\'),
        ("foo123/456", "foo123/456"),
        ("*a:b", "*a:b"),
        ("?1", True),
        ('%"f%c3%bc"', "fü"),
    ],
)
def test_each_kind_of_value_is_converted(text: str, value: object) -> None:
    assert parse_list(text) == [Item(value, {})]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_field_has_no_members(text: str) -> None:
    assert parse_list(text) == []
    assert parse_dictionary(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        *(",", "a,", "a,,b", "a b", "a;", "a;=1", "a=1", ":aGk=:", "@1659578233"),
        *("1000000000000000", "1.2345", "1.", '"open', '"\\x"', '"\x7f"', '"\xe9"', '%"%ff"', "?2"),
        *('%"%C3"', "\ta"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_list(text)


@pytest.mark.parametrize("text", ["A=1", "a=", "a=1 b=2", "=1", "a=1,", "a;;"])
def test_what_is_no_dictionary_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_dictionary(text)


@given(st.text(alphabet='ab*19 ,;=?%"\\.-\t\xe9\x00():', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_list, parse_dictionary):
        with suppress(InvalidField):
            parse(text)
