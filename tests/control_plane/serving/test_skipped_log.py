"""Skipped clouds are counted and logged with their reasons."""

import logging

import pytest

from scopeway.control_plane.planner.plan import Skipped
from scopeway.control_plane.serving.log_rate_limit import LogBudget
from scopeway.control_plane.serving.skipped_log import REMEMBERED, SkippedLog

AWAY = Skipped(cloud="cloud-9", reason="no cloud is named cloud-9", cause="unknown")
CLOSED = Skipped(cloud="closed", reason="closed does not let us in", cause="policy")


@pytest.fixture(autouse=True)
def verbose(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_every_skipped_cloud_is_counted_and_a_repeated_reason_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    passed = SkippedLog()
    for _ in range(3):
        passed.note("cloud-1", "image@cloud-9|closed", [AWAY, CLOSED])

    assert passed.counts == {"unknown": 3, "policy": 3}
    (record,) = caplog.records
    assert record.message == (
        "passed over: cloud-9 (unknown): no cloud is named cloud-9; "
        "closed (policy): closed does not let us in"
    )
    assert vars(record)["target"] == "image@cloud-9|closed"
    assert vars(record)["cloud"] == "cloud-1"


def test_another_site_or_reason_is_logged_on_its_own(caplog: pytest.LogCaptureFixture) -> None:
    passed = SkippedLog()
    passed.note("cloud-1", "t", [AWAY])
    passed.note("cloud-2", "t", [AWAY])
    passed.note("cloud-1", "t", [CLOSED])
    passed.note("cloud-1", "t", [])
    passed.note("cloud-1", "t", [CLOSED])

    assert len(caplog.records) == 4


def test_skipped_clouds_beyond_the_log_budget_are_withheld_and_long_lists_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    passed = SkippedLog(LogBudget(2, 60, clock=lambda: now))
    for number in range(100):
        passed.note("cloud-1", f"t{number}", [AWAY] * 10)
    now = 61
    passed.note("cloud-1", "t99", [AWAY])

    assert len(caplog.records) == 3
    assert caplog.records[0].message.count("cloud-9 (unknown): ") == 3
    assert caplog.records[0].message.endswith("; and 7 more")
    assert vars(caplog.records[2])["lines_withheld"] == 98
    assert passed.counts == {"unknown": 1001}


def test_the_reason_logged_longest_ago_is_forgotten_first(caplog: pytest.LogCaptureFixture) -> None:
    passed = SkippedLog(LogBudget(10**9, 60))
    for number in range(REMEMBERED):
        passed.note("cloud-1", f"t{number}", [AWAY])
    passed.note("cloud-1", "t0", [CLOSED])
    passed.note("cloud-1", "one more", [AWAY])
    caplog.clear()
    for target, why in (("t0", CLOSED), ("t2", AWAY), ("one more", AWAY), ("t1", AWAY)):
        passed.note("cloud-1", target, [why])

    assert [vars(record)["target"] for record in caplog.records] == ["t1"]
