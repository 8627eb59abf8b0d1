"""The metrics of a collector, in Prometheus' words. Owns their names."""

from collections.abc import Callable, Iterable

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector as MetricsCollector

from scopeway.control_plane.collector.stats import SECONDS, RequestStats, Snapshot


class CollectorMetrics(MetricsCollector):
    """Shows a collector's counters, asked for at each scrape (in the thread of the scrape)."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        """Ask for the counters by `snapshot`."""
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of one scrape."""
        now = self._snapshot()
        yield _by(
            "scopeway_collector_requests",
            "Requests that have ended, by how they were answered and with which status.",
            ["way", "status"],
            now.requests.ended.copy().items(),
        )
        yield _seconds(now.requests)
        yield from _counters(
            ("sub_requests", "Sub-requests to clouds.", now.asked),
            ("sub_requests_answered", "Sub-requests that a cloud answered.", now.answered),
            (
                "sub_requests_retried",
                "Sub-requests sent again, as the control plane had not answered.",
                now.retried,
            ),
            (
                "sub_requests_cancelled",
                "Sub-requests reset, as their answers were of no more use.",
                now.cancelled,
            ),
            ("answer_bytes", "Bytes of clouds' answers.", now.answer_bytes),
        )
        yield _by(
            "scopeway_collector_sub_requests_failed",
            "Sub-requests without an answer of use, by cause (docs/fan-out.md).",
            ["cause"],
            [((cause,), count) for cause, count in now.failed.items()],
        )
        yield from _gauges(
            ("requests_under_way", "Requests under way.", now.under_way),
            ("sub_requests_under_way", "Sub-requests under way.", now.sub_requests_under_way),
            ("held_bytes", "Bytes of answers and bodies that are held.", now.held_bytes),
            ("held_bytes_max", "The most that were held since the start.", now.held_bytes_max),
        )


def _by(
    name: str, text: str, labels: list[str], counts: Iterable[tuple[tuple[str, ...], int]]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts:
        family.add_metric(list(values), count)
    return family


def _counters(*rows: tuple[str, str, float]) -> Iterable[Metric]:
    for name, text, value in rows:
        yield CounterMetricFamily(f"scopeway_collector_{name}", text, value=value)


def _gauges(*rows: tuple[str, str, float]) -> Iterable[Metric]:
    for name, text, value in rows:
        yield GaugeMetricFamily(f"scopeway_collector_{name}", text, value=value)


def _seconds(requests: RequestStats) -> Metric:
    buckets = []
    total = 0
    for bound, count in zip([*map(str, SECONDS), "+Inf"], requests.buckets, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return HistogramMetricFamily(
        "scopeway_collector_request_seconds",
        "Time from a request to the end of its answer.",
        buckets=buckets,
        sum_value=requests.seconds,
    )
