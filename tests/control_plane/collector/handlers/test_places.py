"""Where resources were found."""

import pytest

from harness.fake_clouds import fan_out_headers
from scopeway.control_plane.collector.handlers import places
from scopeway.control_plane.collector.handlers.places import Places
from scopeway.control_plane.collector.messages.request import FanoutRequest, read_request


def request(number: int) -> FanoutRequest:
    headers = [(n.encode(), v.encode()) for n, v in fan_out_headers(["a", "b"]).items()]
    return read_request("GET", b"/v2/images/%032x" % number, headers)


def test_the_place_that_was_put_first_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_PLACES", 2)
    known = Places()
    for number in range(3):
        known.put(request(number), "b")

    assert [known.find(request(number)) for number in range(3)] == [None, "b", "b"]
    assert len(known) == 2


def test_a_path_without_an_id_has_no_place() -> None:
    headers = [(n.encode(), v.encode()) for n, v in fan_out_headers(["a"]).items()]
    known = Places()
    known.put(read_request("GET", b"/v2/schemas/image", headers), "a")

    assert len(known) == 0
