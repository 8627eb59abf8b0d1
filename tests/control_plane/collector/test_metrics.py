"""What a collector counts."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from harness.collector_site import collector_site
from harness.fake_clouds import images, json_answer
from scopeway.control_plane.collector.metrics import CollectorMetrics
from scopeway.control_plane.collector.stats import RequestStats, Snapshot


@pytest.mark.asyncio
async def test_requests_and_sub_requests_are_counted_by_what_became_of_them() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1"), "b": json_answer({}, 500)}
        await site.client.ask("/v2/images", ["a", "b", "c"])
        await site.client.ask("/v2/images/1", ["c"])
        await site.client.ask("/v2/images?marker=x", ["a"])
        registry = CollectorRegistry()
        registry.register(CollectorMetrics(site.collector.snapshot))
        lines = generate_latest(registry).decode().splitlines()

    found = {line for line in lines if line.startswith("scopeway_collector_")}
    assert {
        'scopeway_collector_requests_total{status="2xx",way="union"} 1.0',
        'scopeway_collector_requests_total{status="4xx",way="one"} 1.0',
        'scopeway_collector_requests_total{status="4xx",way="union"} 1.0',
        "scopeway_collector_sub_requests_total 4.0",
        "scopeway_collector_sub_requests_answered_total 1.0",
        'scopeway_collector_sub_requests_failed_total{cause="error"} 3.0',
        "scopeway_collector_request_seconds_count 3.0",
        "scopeway_collector_held_bytes 0.0",
    } <= found


def test_the_page_of_the_collector_names_every_metric() -> None:
    text = (Path(__file__).parents[3] / "docs/fan-out.md").read_text()
    nothing = Snapshot(
        requests=RequestStats(),
        under_way=0,
        asked=0,
        answered=0,
        retried=0,
        cancelled=0,
        failed={},
        sub_requests_under_way=0,
        answer_bytes=0,
        held_bytes=0,
        held_bytes_max=0,
    )
    families = CollectorMetrics(lambda: nothing).collect()
    names = {each.name + ("_total" if each.type == "counter" else "") for each in families}
    rows = re.findall(r"^\| (`scopeway_collector_.+?) \|", text, re.MULTILINE)
    documented = set()
    for row in rows:
        first, *others = re.findall(r"`([\w…]+)", row)
        documented.add(first)
        for each in others:
            # `…_b` continues the name before it, from the part that both have on
            documented |= {name for name in names if name.endswith(each.removeprefix("…"))}

    assert documented == names
