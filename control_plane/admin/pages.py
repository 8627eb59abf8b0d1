"""The pages /metrics and /status."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from scopeway.control_plane.admin.answers import Answer, Page, json_answer

KEPT_SECONDS = 1.0
"""How long the figures of an address that everybody may ask are kept: a scrape costs CPU time."""


def metrics_page(registry: CollectorRegistry) -> Mapping[str, Page]:
    """Return /metrics, which shows a registry in the text format of Prometheus."""
    return {"/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry))}


def kept(page: Page, *, clock: Callable[[], float] = time.monotonic) -> Page:
    """Return a page that makes its answer once in KEPT_SECONDS, however often it is asked for."""
    lock = threading.Lock()
    last: tuple[float, Answer] | None = None

    def answer() -> Answer:
        nonlocal last
        with lock:
            if last is None or clock() - last[0] >= KEPT_SECONDS:
                last = clock(), page()
            return last[1]

    return answer


def status_page(status: Callable[[], Mapping[str, Any]]) -> Mapping[str, Page]:
    """Return /status, which shows what `status` returns."""
    return {"/status": lambda: json_answer(status())}
