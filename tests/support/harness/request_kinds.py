"""Requests of each kind to a front: own, direct and peer targets, several clouds, logins, denials.

The clouds that they need are those of `two_versions`.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from harness.http import Connection, Response, send
from harness.load import Kind

IMAGES = "/image/v2/images"
TOKENS = "/identity/v3/auth/tokens"
JSON = ("Content-Type", "application/json")
FORGED = [
    (name, "forged")
    for name in (
        *(f"X-Scopeway-{each}" for each in ("Target", "Service", "Origin", "Method", "Answer")),
        *("X-Scopeway-Limit", "X-Scopeway-Honoured", "X-Forwarded-Host", "X-Forwarded-Prefix"),
        *("X-Service-Token", "Cookie", "Proxy-Authorization", "Forwarded"),
    )
]
CHUNK, CHUNKS = b"x" * 8192, 6
WEBSOCKET = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
ID = "0123456789abcdef0123456789abcdef"
DOMAIN = {"id": "default", "name": "Default"}
TOKEN = {
    "methods": ["password"],
    "user": {"id": ID, "name": "u", "domain": DOMAIN},
    "project": {"id": ID, "name": "p", "domain": DOMAIN},
    "roles": [{"id": "1", "name": "admin"}, {"id": "2", "name": "member"}],
    "expires_at": "2099-01-01T00:00:00.000000Z",
    "catalog": [],
}


def answer(body: Any) -> bytes:
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}"
    return f"{head}\r\n\r\n".encode() + text


def kinds(front: int, here: str, there: str) -> dict[str, Kind]:
    """Return requests of each kind to the front of a cloud; `there` is another with an Envoy."""
    login = {"identity": {"methods": ["token"], "token": {"id": f"t~1~*:local;image:{there}"}}}
    body = json.dumps({"auth": login}).encode()
    validation = ("X-Auth-Token", "service"), ("X-Subject-Token", "user~1~identity:cloud-2")
    clouds = {
        "direct": ("{image:cloud-3}", "cloud-3"),
        "a peer": (f"{{image:{there}}}", there),
        "several": (f"{{image:{there}|cloud-3}}", there),
        "several, the first dead": (f"{{image:cloud-4|{there}}}", there),
        "a label": ("{image:[tier=edge]}", "cloud-2"),
    }
    made: dict[str, Kind] = {"own": (get(IMAGES), is_of("glance of "))}
    for name, (scope, cloud) in clouds.items():
        right = is_of(f"glance of {cloud}")
        made[name] = get(IMAGES, ("X-Scope", scope)), right
        made[f"{name}: a write"] = post(IMAGES, b"{}", ("X-Scope", scope)), right
    made["a login"] = post(TOKENS, body), is_of("keystone of ")
    made["a login there"] = post(TOKENS, body, ("X-Scope", f"identity:{there}")), is_login
    made["a validation there"] = get(TOKENS, *validation), is_moved
    to_there = ("X-Scope", f"{{image:{there}}}")
    made["what is forged"] = get(IMAGES, to_there, *FORGED), is_clean(here)
    made["a link there"] = get(IMAGES, to_there), is_led_back
    made["a WebSocket there"] = (
        lambda _: send(front, IMAGES, [to_there, *WEBSOCKET]),
        lambda found: found.status == 101,
    )
    made["an unknown cloud"] = (
        get(IMAGES, ("X-Scope", "{image:cloud-9}")),
        says(404, "no cloud is named cloud-9"),
    )
    made["denied"] = (
        get(IMAGES, ("X-Scope", "{image:cloud-5}")),
        says(403, "cloud-5 does not let "),
    )
    made["denied there"] = (
        lambda client: client.send(IMAGES, [to_there], method="DELETE"),
        says(403, "accept rules for it allow "),
    )
    return made


def slow_kinds(there: str) -> dict[str, Kind]:
    """Return uploads that are always under way, whatever changes meanwhile."""
    scopes = {"own": "", "there": f"{{image:{there}}}", "several": f"{{image:{there}|cloud-3}}"}
    return {
        f"a slow upload, {name}": (upload(("X-Scope", scope)), has_come)
        for name, scope in scopes.items()
    }


def upload(*headers: tuple[str, str]) -> Callable[[Connection], Response]:
    def chunks() -> Iterator[bytes]:
        for _ in range(CHUNKS):
            yield CHUNK
            time.sleep(0.02)

    return lambda client: client.send(IMAGES, [JSON, *headers], method="POST", body=chunks())


def has_come(found: Response) -> bool:
    return found.status == 200 and found.json["length"] == CHUNKS * len(CHUNK)


def get(path: str, *headers: tuple[str, str]) -> Callable[[Connection], Response]:
    return lambda client: client.send(path, headers)


def post(path: str, body: bytes, *headers: tuple[str, str]) -> Callable[[Connection], Response]:
    return lambda client: client.send(path, [JSON, *headers], method="POST", body=body)


def is_of(service: str) -> Callable[[Response], bool]:
    return lambda found: found.status == 200 and found.json["name"].startswith(service)


def is_clean(origin: str) -> Callable[[Response], bool]:
    """Whether a service was told who asks, and nothing that only an Envoy may say."""

    def is_it(found: Response) -> bool:
        return (
            found.status == 200
            and ["x-scopeway-origin", origin] in found.json["headers"]
            and b"forged" not in found.body
        )

    return is_it


def is_led_back(found: Response) -> bool:
    return found.status == 200 and found.headers["location"] == f"http://front.example{IMAGES}/1"


def is_login(found: Response) -> bool:
    return found.status == 200 and ("token" in found.json or "name" in found.json)


def is_moved(found: Response) -> bool:
    """Whether a token of cloud-2 has the roles that count, and ids that cannot pass for local."""
    token = found.json["token"] if found.status == 200 else {}
    roles = [each["name"] for each in token.get("roles", ())]
    return roles == ["member"] and ID not in (token["user"]["id"], token["project"]["id"])


def says(status: int, sentence: str) -> Callable[[Response], bool]:
    return lambda found: found.status == status and sentence in found.error["message"]
