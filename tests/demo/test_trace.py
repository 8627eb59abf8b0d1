import json
from pathlib import Path

from demo.trace import AccessLogs, in_order, parse, rows


def line(**fields: object) -> str:
    entry = {
        "time": "2026-01-01T00:00:00.000Z",
        "site": "cloud-1",
        "listener": "front",
        "request_id": "r1",
        "method": "GET",
        "path": "/v2/images",
        "service": "image",
        "target": "image@cloud-3",
        "served_by": "cloud-3",
        "status": 200,
    }
    return json.dumps(entry | fields)


def test_a_line_of_the_access_log_is_read_as_a_hop() -> None:
    hop = parse(line(path="/v2/images?limit=20"))

    assert hop is not None
    assert (hop.site, hop.target, hop.served_by, hop.status) == (
        "cloud-1",
        "image@cloud-3",
        "cloud-3",
        200,
    )
    assert hop.path == "/v2/images"


def test_values_unknown_to_envoy_are_empty_in_a_hop() -> None:
    hop = parse(line(served_by=None, target="-", status=None))

    assert hop is not None
    assert (hop.served_by, hop.target, hop.status) == ("", "", 0)


def test_lines_that_are_no_request_are_skipped() -> None:
    assert in_order(["", "[warning] something", "[1, 2]", '{"level": "info"}']) == []


def test_hops_of_several_sites_are_sorted_by_their_start() -> None:
    late = line(time="2026-01-01T00:00:02.000Z", site="cloud-1")
    early = line(time="2026-01-01T00:00:01.000Z", site="cloud-3")

    assert [hop.site for hop in in_order([late, early])] == ["cloud-3", "cloud-1"]


def test_rows_show_requests_at_fronts_with_the_port() -> None:
    hops = in_order([line(), line(listener="peer", site="cloud-3"), line(listener="front/image")])

    assert rows(hops) == [
        ("cloud-1", "GET /v2/images", "image@cloud-3", "cloud-3", "200"),
        ("cloud-1, front/image", "GET /v2/images", "image@cloud-3", "cloud-3", "200"),
    ]


def test_rows_show_the_path_of_the_service_without_the_prefix_of_a_peer() -> None:
    validation = {
        "target": "identity.validate@cloud-1",
        "path": "/identity.validate/v3/auth/tokens",
    }
    hops = in_order([line(path="/image/v2/images"), line(**validation), line(path="/image")])

    assert [row[1] for row in rows(hops)] == [
        "GET /v2/images",
        "GET /v3/auth/tokens",
        "GET /image",
    ]


def test_rows_mark_a_request_that_no_cloud_answered() -> None:
    assert rows(in_order([line(served_by="-", status=404)]))[0][3:] == ("-", "404")


def test_access_logs_return_each_hop_once(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(line(path="/before") + "\n")
    logs = AccessLogs({"cloud-1": log, "cloud-2": tmp_path / "not-there-yet.log"})

    with log.open("a") as file:
        file.write(line(path="/one") + "\n" + line(path="/half")[:20])
    first = logs.news()
    with log.open("a") as file:
        file.write(line(path="/half")[20:] + "\n")
    second = logs.news()

    assert [hop.path for hop in first] == ["/one"]
    assert [hop.path for hop in second] == ["/half"]
