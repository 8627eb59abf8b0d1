"""The access log: the fields that a trace needs, and the secrets that it must not contain."""

import uuid
from typing import Any

import pytest

from harness.fleet import Fleet, manifest
from harness.http import send

ANYONE = [{"clouds": ["cloud-1"]}]
SECRET = "gAAAAA-secret"


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    fleet.site("cloud-2", services={"image": fleet.service("glance-2")}, accept=ANYONE)
    fleet.control_plane.put(
        manifest("cloud-down", services={"image": fleet.nobody()}, accept=ANYONE)
    )
    cloud = fleet.site("cloud-1", services={"image": fleet.service("glance-1")})
    assert cloud.front
    return cloud.front.port


def lines(fleet: Fleet, cloud: str, word: str, count: int = 1) -> list[dict[str, Any]]:
    return fleet.envoys[cloud].access_log(word, count)


def test_access_logs_join_the_hops_of_a_request_by_its_id(fleet: Fleet, front: int) -> None:
    word = uuid.uuid4().hex
    response = send(front, f"/image/{word}?limit=1", [("X-Scope", "{image:cloud-2}")])
    (at_front,) = lines(fleet, "cloud-1", word)
    (at_peer,) = lines(fleet, "cloud-2", word)

    assert at_front["request_id"] == at_peer["request_id"]
    assert response.headers.get_all("x-request-id") == [at_front["request_id"]]
    assert uuid.UUID(at_front["request_id"])
    for line, site, listener in ((at_front, "cloud-1", "front"), (at_peer, "cloud-2", "peer")):
        assert (line["site"], line["listener"]) == (site, listener)
        assert (line["origin"], line["service"]) == ("cloud-1", "image")
        assert line["target"] == "image@cloud-2"
        assert (line["method"], line["status"], line["attempts"]) == ("GET", 200, 1)
        assert line["served_by"] == "cloud-2"
        assert line["path"].endswith(f"/{word}")
        assert line["bytes_sent"] > 0
        assert line["duration_ms"] >= 0


def test_access_logs_join_the_attempts_of_an_alternative_by_the_request_id(
    fleet: Fleet, front: int
) -> None:
    word = uuid.uuid4().hex
    send(front, f"/image/{word}", [("X-Scope", "{image:cloud-down|cloud-2}")])
    (at_front,) = lines(fleet, "cloud-1", word)
    attempts = [
        line
        for line in lines(fleet, "cloud-1", at_front["request_id"], 3)
        if line["listener"] == "dispatch"
    ]

    assert (at_front["attempts"], at_front["served_by"]) == (2, "cloud-2")
    assert [(each["target"], each["flags"]) for each in attempts] == [
        ("image@cloud-down", "URX,UF"),  # a read is tried twice
        ("image@cloud-2", "-"),
    ]
    assert lines(fleet, "cloud-2", word)[0]["request_id"] == at_front["request_id"]


def test_access_logs_contain_no_tokens_queries_or_scopes(fleet: Fleet, front: int) -> None:
    word = uuid.uuid4().hex
    headers = [
        ("X-Auth-Token", SECRET),
        ("X-Subject-Token", SECRET),
        ("X-Service-Token", SECRET),
        ("Authorization", SECRET),
        ("X-Scope", "{image:cloud-2}"),
    ]
    send(front, f"/image/{word}?token={SECRET}", headers)
    lines(fleet, "cloud-1", word)
    lines(fleet, "cloud-2", word)

    for envoy in fleet.envoys.values():
        text = envoy.access_log_file.read_text()
        assert SECRET not in text
        assert "*:cloud-1" not in text


def test_access_logs_contain_no_token_with_its_suffix(fleet: Fleet, front: int) -> None:
    """Nor does Envoy's own log, even for a refused request."""
    words = [uuid.uuid4().hex for _ in range(3)]
    suffixes = ["~1~image:cloud-2", "~1~image:cloud-2~1~image:cloud-2", "~9~nonsense"]
    for word, suffix in zip(words, suffixes, strict=True):
        path = f"/image/{word}?temp_url_sig={SECRET}"  # who has it may have the object
        send(front, path, [("X-Auth-Token", SECRET + suffix)])
        lines(fleet, "cloud-1", word)

    for envoy in fleet.envoys.values():
        for file in envoy.access_log_file.parent.iterdir():
            if file.suffix in (".log", ".txt") or file == envoy.access_log_file:
                text = file.read_text(errors="replace")
                assert SECRET not in text
                assert "~1~" not in text


def test_an_access_log_line_of_a_failed_request_has_the_cause(fleet: Fleet, front: int) -> None:
    word = uuid.uuid4().hex
    send(front, f"/image/{word}", [("X-Scope", "{image:cloud-down}")])
    (line,) = lines(fleet, "cloud-1", word)

    assert (line["status"], line["flags"], line["served_by"]) == (503, "URX,UF", "cloud-1")
    assert "Connection_refused" in line["details"]
