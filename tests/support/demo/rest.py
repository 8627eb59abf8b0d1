"""One HTTP request to an address on loopback, without proxies and without a client library."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a repeated header the last."""
    body: bytes

    def json(self) -> dict[str, object]:
        """The body as a JSON object, {} where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    document: object | None = None,
    data: bytes | None = None,
) -> Answer:
    """Sends one request on a connection of its own.

    Args:
        document: Sent as JSON where it isn't None.
        data: Sent as it is, with the `Content-Type` of `headers`, where there is no document.

    Raises:
        OSError: nobody listens, or the connection broke.
    """
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    body = data if document is None else json.dumps(document).encode()
    sent = {"Content-Type": "application/json"} if document is not None else {}
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS
    )
    try:
        connection.request(method, path or "/", body=body, headers=sent | dict(headers or {}))
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=names, body=response.read())
    except http.client.HTTPException as error:
        raise ConnectionError(f"broken answer from {url}: {error!r}") from error
    finally:
        connection.close()


def answers(url: str) -> bool:
    """Whether somebody answers there with anything but a 5xx."""
    try:
        return request("GET", url).status < 500
    except OSError:
        return False
