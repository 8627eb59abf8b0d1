"""Many clouds with images, in one process: sorted_upstream.py SOCKET IMAGES."""

import asyncio
import functools
import json
import sys
import uuid
from typing import Any
from urllib.parse import parse_qsl

import httptools
import uvloop


@functools.cache
def images(cloud: str) -> list[dict[str, Any]]:
    """Return the images of a cloud, the newest first."""
    made = []
    for number in range(int(sys.argv[2])):
        identifier = uuid.uuid5(uuid.NAMESPACE_OID, f"{cloud}/{number}")
        minute = identifier.int % (60 * 24 * 365)
        created = f"2026-{1 + minute // 44640:02}-{1 + minute % 28:02}T{minute % 24:02}:00:00Z"
        made.append(
            {
                "id": str(identifier),
                "name": f"image-{number}-of-{cloud}",
                "created_at": created,
                "checksum": "8a" * 16,
                "os_hash_value": "5f" * 64,
                "owner": "b6" * 16,
                "links": ["x" * 100, "y" * 100, "z" * 100],
                "properties": {"hw": "v" * 60},
            }
        )
    return sorted(made, key=lambda each: (each["created_at"], each["id"]), reverse=True)


class Cloud(asyncio.Protocol):
    """A connection of the collector."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._begin()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"x-scopeway-target":
            self.cloud = value.decode().partition("@")[2]

    def on_message_complete(self) -> None:
        query = dict(parse_qsl(self.url.decode().partition("?")[2]))
        rows = images(self.cloud)
        at = 0
        if marker := query.get("marker"):
            at = next(n for n, each in enumerate(rows, 1) if each["id"] == marker)
        end = at + int(query["limit"])
        document: dict[str, Any] = {"images": rows[at:end]}
        if end < len(rows):
            document["next"] = f"/v2/images?marker={rows[end - 1]['id']}"
        body = json.dumps(document).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        self._begin()

    def _begin(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.url, self.cloud = b"", ""


async def main() -> None:
    server = await asyncio.get_running_loop().create_unix_server(Cloud, sys.argv[1], backlog=4096)
    print("ready", flush=True)
    await server.serve_forever()


uvloop.run(main())
