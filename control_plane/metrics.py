"""The metrics of a control plane, in Prometheus' words.

Owns their names. An xDS observer (`xds.events.Observer`): called on the event loop, only counts.
"""

from collections.abc import Callable
from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from control_plane.source import SourceStats
from xds.events import (
    Acked,
    Event,
    LookupFailed,
    Nacked,
    NamesSkipped,
    Sent,
    SlowClient,
    StreamClosed,
    StreamOpened,
    TypeNotServed,
)
from xds.source import Node
from xds.types import SEND_ORDER


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
            "Entries of the registry that are not believed.",
            registry=registry,
        )
        self._streams = Gauge("xds_streams", "Open streams.", registry=registry)
        self._responses = self._counter("xds_responses", "Responses sent.")
        self._resources = self._counter("xds_resources_sent", "Resources sent.")
        self._removals = self._counter("xds_removals_sent", "Names sent as removed.")
        self._bytes = self._counter("xds_sent_bytes", "Bytes of responses sent.")
        self._acks = self._counter("xds_acks", "Responses that a client took.")
        self._nacks = self._counter("xds_nacks", "Responses that a client rejected.")
        self._skipped = self._counter("xds_names_skipped", "Names too long or not UTF-8.")
        self._unknown = self._counter("xds_types_not_served", "Streams that asked for the type.")
        self._failed = self._counter("xds_lookups_failed", "Resources that could not be made.")
        self._slow = self._counter("xds_slow_clients", "Streams ended as too slow.")

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ["type_url"], registry=self.registry)

    def watch_source(self, stats: Callable[[], SourceStats]) -> None:
        """Show the counters of a source, asked for at each scrape (in the thread of the scrape)."""
        self.registry.register(_SourceCollector(stats))

    def observe(self, node: Node | None, event: Event) -> None:
        """Count what happened on a stream."""
        match event:
            case StreamOpened():
                self._streams.inc()
            case StreamClosed():
                if node is not None:
                    self._streams.dec()
            case Sent(type_url, resources, removed, size):
                self._responses.labels(_label(type_url)).inc()
                self._resources.labels(_label(type_url)).inc(resources)
                self._removals.labels(_label(type_url)).inc(removed)
                self._bytes.labels(_label(type_url)).inc(size)
            case Acked(type_url):
                self._acks.labels(_label(type_url)).inc()
            case Nacked(type_url):
                self._nacks.labels(_label(type_url)).inc()
            case NamesSkipped(type_url, count):
                self._skipped.labels(_label(type_url)).inc(count)
            case TypeNotServed(type_url):
                self._unknown.labels(_label(type_url)).inc()
            case LookupFailed(type_url):
                self._failed.labels(_label(type_url)).inc()
            case SlowClient(type_url):
                self._slow.labels(_label(type_url)).inc()
            case _:
                assert_never(event)


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
                "scopeway_targets_in_use", "Distinct targets in use.", value=stats.targets
            ),
            CounterMetricFamily(
                "scopeway_clusters_compiled", "Clusters compiled.", value=stats.compiled
            ),
            CounterMetricFamily(
                "scopeway_targets_refused",
                "Targets refused because a stream had too many.",
                value=stats.refused,
            ),
        ]
