"""A client of the admin address of running control planes, for the command line.

Owns the errors between them: each is one sentence that names the address.
"""

import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from scopeway.control_plane.errors import ControlPlaneError

SECONDS = 10.0
"""Timeout of one answer; the control plane itself gives up after 5 seconds."""


def get_status(admin: str) -> Mapping[str, Any]:
    """Return the status of a control plane.

    Raises:
        ControlPlaneError: none answers there, or something else does.
    """
    status = _ask(admin, "/status", None)
    if not isinstance(status, dict) or "scopeway" not in status:
        raise ControlPlaneError(f"what answers at {admin} is not a control plane of Scopeway")
    return status


def command(admin: str, path: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a control plane a command and return its answer.

    Raises:
        ControlPlaneError: none answers there, something else does, or it refuses the command.
    """
    answer = _ask(admin, path, json.dumps(value).encode())
    if not isinstance(answer, dict):
        raise ControlPlaneError(f"what answers at {admin} is not a control plane of Scopeway")
    return answer


def _ask(admin: str, path: str, body: bytes | None) -> Any:
    url = admin if "://" in admin else f"http://{admin}"
    if urlsplit(url).scheme not in ("http", "https"):
        raise ControlPlaneError(f"{admin!r} is not the URL of an admin address: http://host:port")
    request = Request(f"{url.rstrip('/')}{path}", data=body)
    if body is not None:
        request.add_header("Content-Type", "application/json")
    try:
        # no proxy: the admin address is one of this machine, or of its own network
        with build_opener(ProxyHandler({})).open(request, timeout=SECONDS) as answer:
            text = answer.read()
    except HTTPError as error:
        said = error.read().decode(errors="replace").strip().partition("\n")[0]
        raise ControlPlaneError(f"{admin} answers {error.code}: {said[:200]}") from None
    except (HTTPException, URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = getattr(reason, "strerror", None) or reason
        raise ControlPlaneError(f"no control plane answers at {admin}: {why} (--admin)") from None
    try:
        return json.loads(text)
    except ValueError:
        raise ControlPlaneError(
            f"what answers at {admin} is not a control plane of Scopeway"
        ) from None
