"""Times of `control_plane.translator.route_templates`, shortened so that a test sees their end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from scopeway.control_plane.translator import http_connection_managers as connection
from scopeway.control_plane.translator import local_replies as replies
from scopeway.control_plane.translator import route_templates as route


@contextmanager
def shortened(**times: Any) -> Iterator[None]:
    """Give constants of `route` other values; what sites share is made anew, now and at the end."""
    with patch.multiple(route, **times):
        for name in times.keys() & vars(replies).keys():
            setattr(replies, name, times[name])
        _forget()
        yield
    for name in times.keys() & vars(replies).keys():
        setattr(replies, name, getattr(route, name))
    _forget()


def _forget() -> None:
    for module in (route, connection):
        for each in vars(module).values():
            if hasattr(each, "cache_clear"):
                each.cache_clear()
