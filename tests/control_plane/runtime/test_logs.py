"""The format of log lines."""

import logging
import sys

import pytest

from scopeway.control_plane.runtime.logs import MAX_LINE, Formatter
from scopeway.control_plane.serving.log_rate_limit import LogBudget
from scopeway.xds.events import Nacked
from scopeway.xds.grpc_server.logging import StreamLog
from scopeway.xds.type_urls import CLUSTER


def test_a_log_line_shows_its_fields_after_the_message() -> None:
    record = logging.makeLogRecord(
        {
            "name": "scopeway.xds",
            "levelname": "WARNING",
            "msg": "client rejected a response: %s",
            "args": ("no\nsuch filter",),
            "node": "cloud-1/envoy",
            "type_url": "a.B",
        }
    )

    line = Formatter().format(record)
    assert line.endswith(
        "WARNING scopeway.xds: client rejected a response: no\\nsuch filter"
        " node='cloud-1/envoy' type_url='a.B'"
    )


def test_a_log_line_does_not_repeat_a_field_that_its_message_shows() -> None:
    fields = {"node": "cloud-1/envoy", "lines_left_out": 7}
    record = logging.makeLogRecord(
        {"name": "a", "levelname": "INFO", "msg": "node %(node)s", "args": fields, **fields}
    )

    assert Formatter().format(record).endswith("INFO a: node cloud-1/envoy lines_left_out=7")


def test_a_log_line_about_a_stream_shows_each_field_once(caplog: pytest.LogCaptureFixture) -> None:
    StreamLog().log("n/1", Nacked(CLUSTER, ("bad",), 13, "no such filter"))
    line = Formatter().format(caplog.records[0])

    assert [line.count(text) for text in ("n/1", CLUSTER, "bad", "no such filter")] == [1] * 4
    assert line.endswith(": no such filter code=13")


def test_a_log_line_without_fields_is_unchanged() -> None:
    record = logging.makeLogRecord({"name": "a", "levelname": "INFO", "msg": "ready"})

    assert Formatter().format(record).endswith("INFO a: ready")


def test_a_log_budget_withholds_lines_and_reports_their_number() -> None:
    now = 0.0
    budget = LogBudget(2, 60, clock=lambda: now)
    first = [budget.take() for _ in range(5)]
    now = 59
    still = budget.take()
    now = 61
    later = [budget.take() for _ in range(3)]

    assert first == [0, 0, None, None, None]
    assert still is None
    assert later == [4, 0, None]


def test_control_characters_in_a_log_line_are_escaped() -> None:
    """In the message, in fields, and in the traceback of an error."""
    hostile = "a\n2026-11-30 05:00:00,000 INFO forged\x1b[31m\u202e\u2028b"
    try:
        raise ValueError(hostile)
    except ValueError:
        found = sys.exc_info()
    record = logging.makeLogRecord(
        {"name": "a", "levelname": "INFO", "msg": "%s", "args": (hostile,), "exc_info": found}
    )
    vars(record)["field"] = hostile
    first, *others = Formatter().format(record).split("\n")

    assert first.count("forged") == 2
    assert first.isprintable()
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    assert any("forged" in line for line in others)


def test_a_long_log_line_is_cut() -> None:
    record = logging.makeLogRecord({"name": "a", "levelname": "INFO", "msg": "x" * (1 << 20)})

    assert len(Formatter().format(record)) < MAX_LINE + 40
