"""What a line of the log shows."""

import logging

from control_plane.logs import Formatter


def test_a_line_names_what_it_is_about() -> None:
    record = logging.makeLogRecord(
        {
            "name": "xds.server",
            "levelname": "WARNING",
            "msg": "client rejected a response: %s",
            "args": ("no\nsuch filter",),
            "node": "cloud-1/envoy",
            "type_url": "a.B",
        }
    )

    line = Formatter().format(record)
    assert line.endswith(
        "WARNING xds.server: client rejected a response: no\\nsuch filter"
        " node='cloud-1/envoy' type_url='a.B'"
    )


def test_a_line_without_more_is_left_alone() -> None:
    record = logging.makeLogRecord({"name": "a", "levelname": "INFO", "msg": "ready"})

    assert Formatter().format(record).endswith("INFO a: ready")
