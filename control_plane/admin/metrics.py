"""The metrics of a control plane, in Prometheus' words.

Owns their names. An xDS observer (`xds.events.Observer`): called on the event loop, only counts.
"""

from collections.abc import Callable, Collection, Mapping
from importlib.metadata import version
from itertools import accumulate
from typing import Final, assert_never, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from scopeway.control_plane.planner.plan import Cause
from scopeway.control_plane.serving.stats import ANSWER_BOUNDS, SourceStats
from scopeway.xds.events import (
    Acked,
    Event,
    Kept,
    LookupFailed,
    Nacked,
    NamesSkipped,
    Sent,
    SlowClient,
    SourceBlocked,
    StreamClosed,
    StreamDelayed,
    StreamOpened,
    StreamRefused,
    Throttled,
    TypeNotServed,
)
from scopeway.xds.source import Node
from scopeway.xds.type_urls import SEND_ORDER

UPDATE_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)
"""Seconds."""
ACK_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
"""Seconds."""


STATUS_WRITES: Final = ("written", "failed", "denied", "conflict", "gone")
STATUS_EVENTS: Final = ("created", "failed", "dropped")


class Metrics:
    """All metrics of one control plane, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.clouds = Gauge("scopeway_clouds", "Clouds in the inventory.", registry=registry)
        self.revision = Gauge(
            "scopeway_inventory_revision", "Counter of the inventory's changes.", registry=registry
        )
        self.stale = Gauge(
            "scopeway_registry_stale", "1 while the registry cannot be reached.", registry=registry
        )
        self.refused_entries = Gauge(
            "scopeway_registry_refused_entries",
            "Entries of the registry that are refused.",
            registry=registry,
        )
        self.held = Gauge(
            "scopeway_clouds_held", "Clouds that are held after a mass loss.", registry=registry
        )
        self.cordoned = Gauge("scopeway_clouds_cordoned", "Cordons.", registry=registry)
        self.service_types = Gauge(
            "scopeway_service_types", "Service types that are declared.", registry=registry
        )
        self.undeclared = Gauge(
            "scopeway_undeclared_service_types",
            "Service types that manifests name and that are not declared.",
            registry=registry,
        )
        self.lag = Gauge(
            "scopeway_registry_lag_seconds",
            "Seconds since the last confirmed read of the registry; 0 while it is reachable.",
            registry=registry,
        )
        self.loop_lag = Gauge(
            "scopeway_event_loop_lag_seconds_max",
            "CPU time of the longest turn of the event loop since the last scrape.",
            registry=registry,
        )
        self.updates = Histogram(
            "scopeway_update_seconds",
            "Time to apply a batch of the registry, until the streams are notified.",
            registry=registry,
            buckets=UPDATE_BOUNDS,
        )
        self.status_leader = Gauge(
            "scopeway_status_leader",
            "1 while this replica writes the status of Kubernetes' objects.",
            registry=registry,
        )
        self.status_pending = Gauge(
            "scopeway_status_pending",
            "Kubernetes' objects whose status has to be looked at.",
            registry=registry,
        )
        self._status_writes = _results(
            "scopeway_status_writes", "Writes of status.", STATUS_WRITES, registry
        )
        self._status_events = _results(
            "scopeway_status_events", "Events about refusals.", STATUS_EVENTS, registry
        )
        Gauge(
            "scopeway_build_info",
            "1; the label has the version that runs.",
            ["version"],
            registry=registry,
        ).labels(version("scopeway")).set(1)
        ProcessCollector(registry=registry)
        self._streams = Gauge("xds_streams", "Open streams.", registry=registry)
        self._ended = Counter(
            "xds_streams_ended",
            "Streams ended, or refused, by gRPC status; PERMISSION_DENIED: another cloud's.",
            ["status"],
            registry=registry,
        )
        self._held = Counter(
            "xds_streams_held", "New streams that waited for their turn.", registry=registry
        )
        self._turned_away = Counter(
            "xds_streams_refused", "New streams refused: too many at once.", registry=registry
        )
        self._throttled = Counter(
            "xds_throttled",
            "Times that work waited since its client's budget of CPU time was used up.",
            registry=registry,
        )
        self._responses = self._counter("xds_responses", "Responses sent.")
        self._resources = self._counter("xds_resources_sent", "Resources sent.")
        self._removals = self._counter("xds_removals_sent", "Names sent as removed.")
        self._bytes = self._counter("xds_sent_bytes", "Bytes of responses sent.")
        self._acks = self._counter("xds_acks", "Responses that a client acknowledged.")
        self._ack_seconds = Histogram(
            "xds_ack_seconds",
            "Time from a response to its ACK.",
            ["type_url"],
            registry=registry,
            buckets=ACK_BOUNDS,
        )
        self._nacks = self._counter("xds_nacks", "Responses that a client rejected.")
        self._skipped = self._counter("xds_names_skipped", "Names too many, too long or not UTF-8.")
        self._unknown = self._counter("xds_types_not_served", "Streams that asked for the type.")
        self._failed = self._counter("xds_lookups_failed", "Resources that could not be made.")
        self._kept = self._counter("xds_resources_kept", "Resources kept as clients reported them.")
        self._slow = self._counter("xds_slow_clients", "Streams ended as too slow.")
        for counter in (self._nacks, self._failed, self._slow):
            for type_url in SEND_ORDER:
                counter.labels(type_url)  # 0 from the start, or the first is no increase

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["type_url"], registry=self.registry)

    def count_status(self, what: str, result: str) -> None:
        """Count a "write" of status, or an "event", by its result."""
        results, counter = (
            (STATUS_WRITES, self._status_writes)
            if what == "write"
            else (STATUS_EVENTS, self._status_events)
        )
        counter.labels(result if result in results else "other").inc()

    def watch_source(self, stats: Callable[[], SourceStats]) -> None:
        """Show the counters of a source, asked for at each scrape (in the thread of the scrape)."""
        self.registry.register(_SourceCollector(stats))

    def watch_envoys(self, stale: Callable[[], Mapping[str, int]]) -> None:
        """Show how many Envoys are in each state of `control_plane.admin.status.STALE`."""
        self.registry.register(_StaleCollector(stale))

    def observe(self, node: Node | None, event: Event) -> None:
        """Count what happened on a stream."""
        match event:
            case StreamDelayed():
                self._held.inc()
            case StreamRefused():
                self._turned_away.inc()
            case Throttled():
                self._throttled.inc()
            case StreamOpened():
                self._streams.inc()
            case StreamClosed(status, opened=opened):
                self._ended.labels(status).inc()
                if opened and node is not None:
                    self._streams.dec()
            case Sent(type_url, resources, removed, size):
                self._responses.labels(_label(type_url)).inc()
                self._resources.labels(_label(type_url)).inc(resources)
                self._removals.labels(_label(type_url)).inc(removed)
                self._bytes.labels(_label(type_url)).inc(size)
            case Acked(type_url, seconds):
                self._acks.labels(_label(type_url)).inc()
                self._ack_seconds.labels(_label(type_url)).observe(seconds)
            case Nacked(type_url):
                self._nacks.labels(_label(type_url)).inc()
            case NamesSkipped(type_url, count):
                self._skipped.labels(_label(type_url)).inc(count)
            case TypeNotServed(type_url):
                self._unknown.labels(_label(type_url)).inc()
            case LookupFailed(type_url):
                self._failed.labels(_label(type_url)).inc()
            case SourceBlocked():
                pass  # the longest turn of the event loop has a figure of its own
            case Kept(type_url, count):
                self._kept.labels(_label(type_url)).inc(count)
            case SlowClient(type_url):
                self._slow.labels(_label(type_url)).inc()
            case _:
                assert_never(event)


def _results(
    name: str, text: str, results: Collection[str], registry: CollectorRegistry
) -> Counter:
    counter = Counter(name, text, ["result"], registry=registry)
    for result in results:
        counter.labels(result)  # 0 from the start, or the first is no increase
    return counter


def _label(type_url: str) -> str:
    # a client may name any type: its inventions must not become time series
    return type_url if type_url in SEND_ORDER else "other"


class _SourceCollector(Collector):
    def __init__(self, stats: Callable[[], SourceStats]) -> None:
        self._stats = stats

    def collect(self) -> list[Metric]:
        stats = self._stats()
        return [
            GaugeMetricFamily(
                "scopeway_targets_in_use",
                "Distinct targets of sites that have a stream, or lately had.",
                value=stats.targets,
            ),
            CounterMetricFamily(
                "scopeway_clusters_compiled", "Clusters compiled.", value=stats.compiled
            ),
            CounterMetricFamily(
                "scopeway_targets_refused",
                "Targets refused because a stream had too many.",
                value=stats.refused,
            ),
            GaugeMetricFamily(
                "scopeway_prefetch_clouds",
                "Clouds whose targets every Envoy gets before it asks.",
                value=stats.prefetched_clouds,
            ),
            GaugeMetricFamily(
                "scopeway_prefetch_left_out",
                "Clouds that --prefetch selects beyond its limit.",
                value=stats.prefetch_left_out,
            ),
            _passed_over(stats),
            HistogramMetricFamily(
                "scopeway_compile_seconds",
                "Time to plan and compile one target for one stream.",
                buckets=list(
                    zip(
                        [*map(str, ANSWER_BOUNDS), "+Inf"],
                        accumulate(stats.answers),
                        strict=True,
                    )
                ),
                sum_value=stats.answer_seconds,
            ),
        ]


class _StaleCollector(Collector):
    def __init__(self, stale: Callable[[], Mapping[str, int]]) -> None:
        self._stale = stale

    def collect(self) -> list[Metric]:
        family = GaugeMetricFamily(
            "scopeway_stale_envoys",
            "Envoys whose control plane cannot read its registry, by what they have of it.",
            labels=["state"],
        )
        for state, count in self._stale().items():
            family.add_metric([state], count)
        return [family]


def _passed_over(stats: SourceStats) -> Metric:
    family = CounterMetricFamily(
        "scopeway_clouds_passed_over",
        "Times that a cloud of an | or of labels was left out of a target.",
        labels=["cause"],
    )
    for cause in get_args(Cause):
        family.add_metric([cause], stats.skipped.get(cause, 0))
    return family
