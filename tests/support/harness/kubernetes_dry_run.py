"""Asks an API server whether it would store documents, over several connections; stores none."""

import json
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPSConnection
from queue import SimpleQueue
from typing import Any

from harness.kubernetes import ApiServer

_PLURALS = {"Cordon": "cordons", "ServiceType": "servicetypes"}
_CONNECTIONS = 6
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server would do with a document."""

    stored: dict[str, Any] | None
    """The object as it would be stored; None if the document is refused."""
    message: str
    """Why it is refused."""
    code: int


def judge(api: ApiServer, documents: Sequence[Any]) -> list[Answer]:
    """Return the answer to each document, sent as a client does that asks for no validation."""
    free: SimpleQueue[HTTPSConnection] = SimpleQueue()

    def one(document: Any) -> Answer:
        connection = free.get()
        try:
            return _create(connection, document)
        finally:
            free.put(connection)

    with ExitStack() as open_ones, ThreadPoolExecutor(_CONNECTIONS) as threads:
        for connection in _connections(api):
            free.put(open_ones.enter_context(closing(connection)))
        return list(threads.map(one, documents))


def _connections(api: ApiServer) -> list[HTTPSConnection]:
    user = json.loads(api.kubeconfig.read_text())["users"][0]["user"]
    context = ssl.create_default_context(cafile=api.folder / "ca.crt")
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    return [
        HTTPSConnection("127.0.0.1", api.port, context=context, timeout=_TIMEOUT)
        for _ in range(_CONNECTIONS)
    ]


def _create(connection: HTTPSConnection, document: Any) -> Answer:
    kind = document.get("kind") if isinstance(document, dict) else None
    plural = _PLURALS.get(kind, "edgeclouds") if isinstance(kind, str) else "edgeclouds"
    connection.request(
        "POST",
        f"/apis/scopeway.io/v1alpha1/{plural}?dryRun=All&fieldValidation=Ignore",
        json.dumps(document),
        {"Content-Type": "application/json"},
    )
    answer = connection.getresponse()
    found = json.loads(answer.read())
    if answer.status == 201:
        return Answer(found, "", 201)
    return Answer(None, found["message"], answer.status)
