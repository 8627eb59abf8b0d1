import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.kubernetes_api.watch_lines import Lines, LineTooLong, read_event

EVENTS = [
    {"type": "ADDED", "object": {"metadata": {"name": "a"}, "spec": {"text": "ü\n"}}},
    {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}},
    {"type": "DELETED", "object": {}},
]
TEXT = b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in EVENTS)


@given(st.lists(st.integers(0, len(TEXT)), max_size=12))
def test_a_watch_may_be_split_anywhere(cuts: list[int]) -> None:
    lines, edges = Lines(), [0, *sorted(cuts), len(TEXT)]
    events = [
        read_event(line) for start, end in pairwise(edges) for line in lines.feed(TEXT[start:end])
    ]

    assert [{"type": event.type, "object": event.document()} for event in events] == EVENTS


def test_empty_lines_are_no_events() -> None:
    assert Lines().feed(b"\n\n") == []


def test_a_line_of_the_greatest_length_is_read() -> None:
    lines = Lines(max_bytes=10)

    assert lines.feed(b"12345") == []
    assert lines.feed(b"67890\n") == [b"1234567890"]


@pytest.mark.parametrize("chunks", [[b"12345678901\n"], [b"123456", b"78901"], [b"1\n", b"2" * 11]])
def test_a_line_that_is_too_long_is_refused_before_it_ends(chunks: list[bytes]) -> None:
    lines = Lines(max_bytes=10)

    with pytest.raises(LineTooLong, match="an event is longer than 10 bytes"):
        [lines.feed(chunk) for chunk in chunks]


@pytest.mark.parametrize(
    "line", [b"no json", b"[]", b'{"type":"ADDED"}', b'{"type":1,"object":{}}']
)
def test_a_line_that_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_event(line)
