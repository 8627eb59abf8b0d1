"""The limits of the texts in a request."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import (
    MAX_ERROR_BYTES,
    MAX_NONCE_BYTES,
    MAX_TYPE_BYTES,
    MAX_VERSION_BYTES,
    decode_delta_request,
    decode_sotw_request,
)
from scopeway.xds.encoding.node import MAX_FEATURES, MAX_METADATA_BYTES, MAX_TEXT_BYTES
from scopeway.xds.errors import MalformedRequestError
from scopeway.xds.events import Nacked, NamesSkipped, StreamClosed, TypeNotServed
from scopeway.xds.grpc_server.logging import LINES, StreamLog
from scopeway.xds.protocol.session import DeltaSession, SotwSession
from scopeway.xds.type_urls import CLUSTER
from xds_model import Store, write_node, write_request, write_sotw_request

TEXTS = {
    "node.id": 1,
    "node.cluster": 2,
    "node.user_agent_name": 6,
    "node.user_agent_version": 7,
    "node.client_features": 10,
    "node.locality.region": (4, 1),
    "node.locality.zone": (4, 2),
    "node.locality.sub_zone": (4, 3),
}


def of_node(field: int | tuple[int, int], text: str) -> bytes:
    if isinstance(field, tuple):
        return wire.field_bytes(field[0], wire.field_string(field[1], text))
    return wire.field_string(field, text)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_a_node(name: str) -> None:
    def read(length: int) -> Any:
        node = of_node(TEXTS[name], "x" * length)
        return decode_delta_request(write_request(CLUSTER, node=node)).node

    assert "x" * MAX_TEXT_BYTES in str(read(MAX_TEXT_BYTES))
    with pytest.raises(MalformedRequestError) as refused:
        read(20 << 20 if name == "node.id" else MAX_TEXT_BYTES + 1)
    assert f"{name} has " in str(refused.value)
    assert str(refused.value).endswith(f" bytes; at most {MAX_TEXT_BYTES} are allowed")
    assert refused.value.status == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            write_request("t" * (MAX_TYPE_BYTES + 1)),
            f"type_url has {MAX_TYPE_BYTES + 1} bytes; at most {MAX_TYPE_BYTES}",
        ),
        (
            write_request(CLUSTER, nonce="n" * (MAX_NONCE_BYTES + 1)),
            f"response_nonce has {MAX_NONCE_BYTES + 1} bytes; at most {MAX_NONCE_BYTES}",
        ),
        (
            write_request(
                CLUSTER, node=wire.field_bytes(3, b"\n\0" * (MAX_METADATA_BYTES // 2 + 1))
            ),
            f"node.metadata has {MAX_METADATA_BYTES + 2} bytes; at most {MAX_METADATA_BYTES}",
        ),
        (
            write_request(CLUSTER, node=wire.field_bytes(8, b"\n\0" * 9999)),
            "node.user_agent_build_version has 19998 bytes; at most 4096",
        ),
        (
            write_request(
                CLUSTER, node=write_node("a", "b", features=map(str, range(MAX_FEATURES + 1)))
            ),
            f"node.client_features has more than {MAX_FEATURES} entries",
        ),
    ],
    ids=["type_url", "nonce", "metadata", "build", "features"],
)
def test_a_field_over_its_limit_is_an_error_with_its_name_and_length(
    data: bytes, sentence: str
) -> None:
    with pytest.raises(MalformedRequestError) as refused:
        decode_delta_request(data)
    assert sentence in str(refused.value)
    assert refused.value.status == "INVALID_ARGUMENT"


def test_the_message_of_a_nack_is_cut_to_its_limit() -> None:
    """Even if the error has a million fields."""
    long = "E" * (MAX_ERROR_BYTES + 1)
    delta = decode_delta_request(write_request(CLUSTER, nonce="1", error=long))
    sotw = decode_sotw_request(write_sotw_request(CLUSTER, nonce="1", error=long))
    fields = b"\x1a\x00" * 1_000_000
    many = write_request(CLUSTER) + wire.field_bytes(7, fields + wire.field_string(2, "late"))

    assert delta.error == sotw.error
    assert delta.error is not None
    assert delta.error.message == long[:-1]
    error = decode_delta_request(many).error
    assert error is not None
    assert error.message == ""


def test_a_version_over_its_limit_counts_as_none() -> None:
    """It is of another server, and a client that comes from there must not be refused."""
    versions = {"a": "v" * MAX_VERSION_BYTES, "b": "v" * (MAX_VERSION_BYTES + 1)}
    delta = decode_delta_request(write_request(CLUSTER, versions=versions))
    sotw = decode_sotw_request(write_sotw_request(CLUSTER, version="v" * (MAX_VERSION_BYTES + 1)))

    assert delta.initial_versions == {"a": versions["a"]}
    assert delta.skipped == 0
    assert sotw.version_info == ""


def test_names_beyond_twice_the_limit_are_not_read_except_the_wildcard() -> None:
    names = [*(str(number) for number in range(9)), "*"]
    delta = decode_delta_request(
        write_request(
            CLUSTER, subscribe=names, unsubscribe=names, versions=dict.fromkeys(names, "")
        ),
        max_names=4,
    )
    sotw = decode_sotw_request(write_sotw_request(CLUSTER, names=names), max_names=4)

    assert delta.subscribe == delta.unsubscribe == sotw.names == ("0", "1", "2", "3", "*")
    assert list(delta.initial_versions) == ["0", "1", "2", "3"]
    assert (delta.skipped, sotw.skipped) == (5 + 5 + 6, 5)


@pytest.mark.parametrize("kind", ["delta", "sotw"])
def test_a_type_that_is_not_served_keeps_no_names(kind: str) -> None:
    names = ["a", "b", "*"]
    node = write_node("site/1", "site")
    session: Any
    if kind == "delta":
        session = DeltaSession(Store())
        data = write_request("type/x", node=node, subscribe=names)
        session.receive(decode_delta_request(data), 0)
    else:
        session = SotwSession(Store())
        data = write_sotw_request("type/x", node=node, names=names)
        session.receive(decode_sotw_request(data), 0)

    (response,) = session.responses_to_send(0)
    assert (response.resources, response.removed) == (0, 2 if kind == "delta" else 0)
    assert session.status() == ()
    assert list(session.interests()) == session.interest_changes() == []
    assert session.responses_to_send(0) == []
    assert session.events() == [TypeNotServed("type/x")]


class TestLog:
    """The text of a client in the log."""

    HOSTILE = "no\n2026-11-30 05:00:00,000 INFO forged \x1b[31m\u202e" + "E" * (1 << 18)

    @pytest.mark.parametrize(
        "event",
        [
            lambda text: Nacked(text, (text,) * 5000, 13, text),
            lambda text: NamesSkipped(text, 3),
            lambda text: TypeNotServed(text),
            lambda text: StreamClosed("INVALID_ARGUMENT", text),
        ],
        ids=["nack", "skipped", "type", "closed"],
    )
    def test_log_lines_are_escaped_cut_and_limited_in_number(
        self, event: Callable[[str], Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        log = StreamLog()
        with caplog.at_level(logging.WARNING):
            for _ in range(1000):
                log.log(self.HOSTILE, event(self.HOSTILE))

        assert len(caplog.records) == LINES
        for record in caplog.records:
            fields = {**vars(record), "message": record.getMessage()}
            for name in ("message", "node", "type_url", "names"):
                value = str(fields.get(name, ""))
                assert len(value) < 5000
                assert value.isprintable()

    def test_a_log_line_says_how_many_were_left_out_before_it(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [0.0]
        monkeypatch.setattr("scopeway.xds.grpc_server.logging.monotonic", lambda: clock[0])
        log = StreamLog()
        with caplog.at_level(logging.WARNING):
            for _ in range(LINES + 7):
                log.log("n", NamesSkipped(CLUSTER, 1))
            log.log("n", TypeNotServed(CLUSTER))  # another kind of line
            clock[0] = 11.0
            log.log("n", NamesSkipped(CLUSTER, 1))

        assert [vars(each).get("lines_left_out") for each in caplog.records[LINES:]] == [None, 7]
