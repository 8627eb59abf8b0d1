"""A client of an API server: what a site does when it applies its own EdgeCloud."""

import json
import re
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse, HTTPSConnection, RemoteDisconnected
from typing import Any

from harness.kubernetes import ApiServer
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.clouds.model import Cloud

EDGE_CLOUDS = "/apis/scopeway.io/v1alpha1/edgeclouds"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
CONNECTIONS = 4
"""That fill an API server; more are no faster on two cores."""

_COUNTED = re.compile(r"^apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Client:
    """One kept connection."""

    def __init__(self, api: ApiServer) -> None:
        folder = api.folder / "user-admin"
        tls = ssl.create_default_context(cafile=api.folder / "ca.crt")
        tls.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self._connection = HTTPSConnection("127.0.0.1", api.port, context=tls, timeout=60)

    def apply(self, cloud: Cloud) -> None:
        """Apply a cloud on the server side, as `kubectl apply --server-side` does."""
        self.send(
            *("PATCH", f"{EDGE_CLOUDS}/{cloud.name}?fieldManager=kubectl&force=true"),
            *(to_document(cloud), APPLY),
        )

    def patch(self, name: str, spec: Mapping[str, object]) -> None:
        """Change some fields of a cloud's `spec`."""
        self.send("PATCH", f"{EDGE_CLOUDS}/{name}", {"spec": spec}, MERGE)

    def requests(self) -> Counter[tuple[str, str, str]]:
        """Return how many requests the API server has answered, by resource, subresource, verb."""
        counts: Counter[tuple[str, str, str]] = Counter()
        for found in _COUNTED.finditer(self.send("GET", "/metrics").decode()):
            labels = dict(_LABEL.findall(found[1]))
            counts[labels["resource"], labels["subresource"], labels["verb"]] += int(
                float(found[2])
            )
        return counts

    def send(self, method: str, path: str, document: Any = None, kind: str = MERGE) -> bytes:
        """Send a request; return the body of its answer, which must be a success."""
        try:
            answer = self._exchange(method, path, document, kind)
        except RemoteDisconnected:  # it was idle for minutes
            self._connection.close()
            answer = self._exchange(method, path, document, kind)
        text = answer.read()
        assert answer.status < 300, f"{method} {path}: {answer.status} {text[:300]!r}"
        return text

    def close(self) -> None:
        self._connection.close()

    def _exchange(self, method: str, path: str, document: Any, kind: str) -> HTTPResponse:
        body = None if document is None else json.dumps(document)
        self._connection.request(method, path, body, {"Content-Type": kind} if body else {})
        return self._connection.getresponse()


def fill(api: ApiServer, clouds: Sequence[Cloud]) -> None:
    """Apply many clouds, over several connections."""

    def some(first: int) -> None:
        client = Client(api)
        for cloud in clouds[first::CONNECTIONS]:
            client.apply(cloud)
        client.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(some, range(CONNECTIONS)))
