"""Limits that would serve nobody are refused where they are made."""

import math
from typing import Any

import pytest

from scopeway import xds


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"lookups": 0}, "Limits.lookups is 0: it must be more than 0"),
        ({"send_timeout": -1.0}, "Limits.send_timeout is -1.0: it must be more than 0"),
        ({"cpu_share": math.nan}, "Limits.cpu_share is nan: it must be more than 0"),
        ({"drain_timeout": -1}, "Limits.drain_timeout is -1: it must be at least 0"),
    ],
)
def test_a_limit_that_is_not_positive_is_refused(limits: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"^Limits\.") as raised:
        xds.Limits(**limits)

    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"names": None}, "Limits.names must be a number, not None"),
        ({"names": "100"}, "Limits.names must be a number, not a str"),
        ({"names": True}, "Limits.names must be a number, not a bool"),
    ],
)
def test_a_limit_that_is_no_number_is_refused(limits: Any, message: str) -> None:
    with pytest.raises(TypeError, match=r"^Limits\.") as raised:
        xds.Limits(**limits)

    assert str(raised.value) == message


def test_no_delay_and_no_time_to_drain_are_limits() -> None:
    limits = xds.Limits(connect_wait=0, drain_timeout=0, cpu_share=None)

    assert (limits.connect_wait, limits.drain_timeout, limits.cpu_share) == (0, 0, None)
