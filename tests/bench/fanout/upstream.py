"""Many clouds in one fast process, each with a Keystone and a Glance: upstream.py ITEMS PAGE.

Prints its port. `/c12/…` is cloud 12: a login at `/c12/v3/auth/tokens`, and ITEMS images at
`/c12/v2/images`, with PAGE of them in a page, `limit`, `marker`, `sort_key` and `sort_dir`.
`/each/…` is another cloud with each request, and `/hangs/…` never answers. `/sent` is how many
bytes were sent. Answers are made once and kept, so that the process costs little beside what is
measured.
"""

import asyncio
import json
import re
import resource
import sys
import time
import uuid
from functools import cache
from itertools import count
from typing import Any, cast
from urllib.parse import parse_qsl

import uvloop

ITEMS, PAGE = int(sys.argv[1]), int(sys.argv[2])
LARGEST_PAGE = 1000
YEARS_2 = 60_000_000

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_others = count()
_sent = 0


def image(cloud: str, number: int) -> dict[str, Any]:
    """Return an image as Glance lists it: 0.8 kB."""
    made = uuid.uuid5(uuid.NAMESPACE_OID, f"{cloud}/{number}")
    # the times of all clouds' images are interleaved
    at = time.gmtime(1_700_000_000 + made.int % YEARS_2)
    return {
        **{"id": str(made), "name": f"image-{number}-of-{cloud}", "status": "active"},
        **{"disk_format": "qcow2", "container_format": "bare", "visibility": "public"},
        **{"size": 16300544, "virtual_size": None, "protected": False, "os_hidden": False},
        **{"min_ram": 0, "min_disk": 0, "owner": "b6a6a1c5c0d94d1a9b6b5b9a3d4b2f10", "tags": []},
        **{"checksum": "8a1e1f2a3b4c5d6e7f8091a2b3c4d5e6", "os_hash_algo": "sha512"},
        **{"os_hash_value": "5f" * 64, "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", at)},
        **{"updated_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", at), "self": f"/v2/images/{made}"},
        **{"file": f"/v2/images/{made}/file", "schema": "/v2/schemas/image"},
    }


def images(
    cloud: str, sort_key: str = "created_at", sort_dir: str = "desc"
) -> list[dict[str, Any]]:
    """Return all images of a cloud, sorted like Glance does."""
    return sorted(
        (image(cloud, number) for number in range(ITEMS)),
        key=lambda each: (each[sort_key], each["id"]),
        reverse=sort_dir == "desc",
    )


@cache
def listing(cloud: str, query: str) -> bytes:
    """Return one page."""
    asked = dict(parse_qsl(query))
    rows = images(cloud, asked.get("sort_key", "created_at"), asked.get("sort_dir", "desc"))
    limit = min(int(asked.get("limit", PAGE)), LARGEST_PAGE)
    if marker := asked.get("marker"):
        rows = rows[[each["id"] for each in rows].index(marker) + 1 :]
    body: dict[str, Any] = {"images": rows[:limit], "first": "/v2/images"}
    if len(rows) > limit:
        others = "".join(f"&{key}={value}" for key, value in asked.items() if key != "marker")
        body["next"] = f"/v2/images?marker={rows[limit - 1]['id']}{others}"
    return answer("200 OK", {**body, "schema": "/v2/schemas/images"})


def show(cloud: str, identity: str) -> bytes:
    """Return one image."""
    found = next((each for each in images(cloud) if each["id"] == identity), None)
    return answer("200 OK", found) if found else answer("404 Not Found", {"message": "no image"})


def answer(status: str, body: object, headers: str = "") -> bytes:
    """Return a response in JSON."""
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\n{headers}content-type: application/json\r\n"
    return f"{head}content-length: {len(text)}\r\n\r\n".encode() + text


class Upstream(asyncio.Protocol):
    """One connection; it reads whole requests, one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        global _sent
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            self._buffer = self._buffer[whole:]
            _, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            if (response := respond(path)) is not None:
                self._transport.write(response)
                _sent += len(response)


def respond(path: str) -> bytes | None:
    """Return the response to a path; None is none at all."""
    path, _, query = path.partition("?")
    _, cloud, *rest = path.rstrip("/").split("/")
    if cloud == "hangs":
        return None
    if cloud == "sent":
        return answer("200 OK", _sent)
    if cloud == "each":
        cloud = f"o{next(_others)}"
    match rest:
        case ["v2", "images"]:
            return listing(cloud, query)
        case ["v2", "images", identity]:
            return show(cloud, identity)
        case ["v3", "auth", "tokens"]:
            return answer("201 Created", {"token": token(cloud)}, "x-subject-token: gAAAA\r\n")
        case ["v3"]:
            return answer("200 OK", {"version": version("v3.14", f"{base(cloud)}/v3/")})
        case []:
            return answer("300 Multiple", {"versions": [version("v2.9", f"{base(cloud)}/v2/")]})
    return answer("404 Not Found", {})


def version(name: str, url: str) -> dict[str, Any]:
    """Return the description of an API's version."""
    status = "stable" if name.startswith("v3") else "CURRENT"
    return {"id": name, "status": status, "links": [{"rel": "self", "href": url}]}


def token(cloud: str) -> dict[str, Any]:
    """Return a token whose catalog has the cloud's Glance."""
    domain = {"id": "default", "name": "Default"}
    place = {"interface": "public", "region": "r", "region_id": "r", "url": base(cloud), "id": "e"}
    return {
        **{"methods": ["password"], "audit_ids": ["a"], "is_domain": False, "roles": []},
        **{"issued_at": "2020-01-01T00:00:00.0Z", "expires_at": "2099-01-01T00:00:00.0Z"},
        **{"user": {"id": "u", "name": "u", "domain": domain}},
        **{"project": {"id": "p", "name": "p", "domain": domain}},
        **{"catalog": [{"type": "image", "name": "glance", "id": "i", "endpoints": [place]}]},
    }


def base(cloud: str) -> str:
    """Return the URL of a cloud."""
    return f"http://127.0.0.1:{port}/{cloud}"


async def main() -> None:
    """Serve until the process is ended."""
    global port
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await server.serve_forever()


port = 0
if __name__ == "__main__":
    uvloop.run(main())
