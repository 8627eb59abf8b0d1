"""Cases of `tests/testdata/abuse.yaml`, sent as they stand."""

from typing import Any

from harness.http import Response
from harness.http2 import Connection2, Headers, Refused


def over_http2(port: int, case: dict[str, Any], headers: Headers, **more: Any) -> Response | None:
    """Send a case over HTTP/2, with these headers before its own; None where it is refused.

    `more` is for the connection.
    """
    given: Headers = [(name, value) for name, value in case.get("headers", [])]
    with Connection2(port, **more) as connection:
        try:
            return connection.send(
                case["send"],
                [*headers, *given],
                method=case.get("method", "GET"),
                body=str(case.get("body", "")).encode(),
                pseudo=[(name, value) for name, value in case.get("pseudo", [])],
            )
        except Refused:
            return None
