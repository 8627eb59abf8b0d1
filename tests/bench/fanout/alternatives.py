"""What a user has without `&`: the images of many clouds, each with a login of its own.

Each function returns a command that lists the images of `count` clouds of the upstream at `port`,
and prints how many it found. The commands run as processes, so that their whole cost is seen.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

THREADS = 32
AT_ONCE = 128
LOOPBACK = "http://127.0.0.1"
USER = {"username": "u", "password": "p", "user_domain_id": "default"}
PROJECT = {"project_name": "p", "project_domain_id": "default"}


def clouds_yaml(port: int, count: int, front: int) -> str:
    """Return a clouds.yaml, in JSON: each cloud by itself, and `all` by the front of a site."""
    clouds = {f"c{number}": _entry(f"{port}/c{number}/v3") for number in range(count)}
    all_ = {
        **_entry(f"{front}/identity/v3"),
        "image_endpoint_override": f"{LOOPBACK}:{front}/image",
    }
    return json.dumps({"clouds": {**clouds, "all": all_}})


def _entry(place: str) -> dict[str, Any]:
    auth = {"auth_url": f"{LOOPBACK}:{place}", **USER, **PROJECT}
    return {"auth": auth, "identity_api_version": 3}


def openstacksdk(port: int, count: int) -> int:
    """List with openstacksdk, a connection for each cloud, in threads."""
    import openstack

    config = openstack.config.OpenStackConfig()

    def images(number: int) -> int:
        connection = openstack.connection.Connection(config=config.get_one(f"c{number}"))
        return sum(1 for _ in connection.image.images())

    return _in_threads(images, count)


def keystoneauth(port: int, count: int) -> int:
    """List with keystoneauth, a session for each cloud, in threads."""
    from keystoneauth1 import session
    from keystoneauth1.identity import v3

    def images(number: int) -> int:
        url = f"http://127.0.0.1:{port}/c{number}/v3"
        mine = session.Session(auth=v3.Password(auth_url=url, **USER, **PROJECT))
        endpoint = {"service_type": "image", "interface": "public", "min_version": None}
        return len(mine.get("/v2/images", endpoint_filter=endpoint).json()["images"])

    return _in_threads(images, count)


def by_hand(port: int, count: int) -> int:
    """Log in and list with asyncio's streams and uvloop."""
    return _by_hand(port, count, login=True)


def by_hand_without_login(port: int, count: int) -> int:
    """List with asyncio's streams and uvloop; as if there were a token for each cloud."""
    return _by_hand(port, count, login=False)


def _in_threads(images: Callable[[int], int], count: int) -> int:
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(images, range(count)))


def _by_hand(port: int, count: int, *, login: bool) -> int:
    import uvloop

    credentials = {"user": {"name": "u", "password": "p", "domain": {"id": "default"}}}
    body = {"identity": {"methods": ["password"], "password": credentials}}
    data = json.dumps({"auth": body}).encode()

    async def images(number: int, gate: asyncio.Semaphore) -> int:
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            token = "gAAAA"
            if login:
                path = f"/c{number}/v3/auth/tokens"
                headers, _ = await _exchange(reader, writer, "POST", path, data=data)
                token = headers["x-subject-token"]
            path = f"/c{number}/v2/images"
            _, answer = await _exchange(reader, writer, "GET", path, token=token)
            writer.close()
            return len(json.loads(answer)["images"])

    async def main() -> int:
        gate = asyncio.Semaphore(AT_ONCE)
        return sum(await asyncio.gather(*(images(number, gate) for number in range(count))))

    return uvloop.run(main())


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    path: str,
    *,
    data: bytes = b"",
    token: str = "",
) -> tuple[dict[str, str], bytes]:
    head = f"{method} {path} HTTP/1.1\r\nhost: h\r\nx-auth-token: {token}\r\n"
    writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = [line.partition(": ") for line in answer.split("\r\n")[1:]]
    headers = {name: value for name, _, value in lines}
    return headers, await reader.readexactly(int(headers["content-length"]))


WAYS: dict[str, Callable[[int, int], int]] = {
    each.__name__: each for each in (openstacksdk, keystoneauth, by_hand, by_hand_without_login)
}


def command(way: str, port: int, count: int) -> list[str]:
    """Return the command that runs one of `WAYS`."""
    return [sys.executable, str(Path(__file__)), way, str(port), str(count)]


if __name__ == "__main__":
    print(WAYS[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3])))
