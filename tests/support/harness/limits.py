"""Times of `control_plane.translator.route_templates`, shortened so that a test sees their end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from scopeway.control_plane.translator import (
    http_connection_managers,
    local_replies,
    route_templates,
)


@contextmanager
def shortened(**times: Any) -> Iterator[None]:
    """Give constants of `route` other values; what sites share is made anew, now and at the end."""
    with patch.multiple(route_templates, **times):
        for name in times.keys() & vars(local_replies).keys():
            setattr(local_replies, name, times[name])
        _forget()
        yield
    for name in times.keys() & vars(local_replies).keys():
        setattr(local_replies, name, getattr(route_templates, name))
    _forget()


def _forget() -> None:
    for module in (route_templates, http_connection_managers):
        for each in vars(module).values():
            if hasattr(each, "cache_clear"):
                each.cache_clear()
