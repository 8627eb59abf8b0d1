"""Ids that the one who creates a resource may choose: the same one in every cloud. Pure.

Glance takes the id of an image, Nova that of a flavor and the name of a key pair. All other ids are
chosen by each cloud, and the report of a write lists them.
"""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from scopeway.control_plane.collector.messages.request import FanoutRequest, Refused

_IMAGES = re.compile(r"(?:/[^/]+)*/v2/images/?")
_COMPUTE = re.compile(r"(?:/[^/]+)*/v2(?:\.[0-9]+)?(?:/[^/]+)?/(flavors|os-keypairs)/?")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ChosenId:
    """An id, or name, that a resource has in all clouds."""

    id: str
    by_client: bool
    """Whether the client chose it. Then a 409 can mean that an earlier try was carried out."""


def choose_id(
    request: FanoutRequest, new_id: Callable[[], str] = lambda: str(uuid.uuid4())
) -> tuple[bytes, ChosenId | None]:
    """Return the body for every cloud, and the id in it if the API lets one choose it.

    A body that is not of the expected form stays as it is: each cloud says what is wrong with it.

    Raises:
        Refused: A key pair would be generated, and so differ in each cloud.
    """
    if request.method == "POST":
        if request.service == "image" and _IMAGES.fullmatch(request.path):
            return _with_id(request.body, "", (), new_id)
        if request.service == "compute" and (found := _COMPUTE.fullmatch(request.path)):
            if found[1] == "flavors":
                return _with_id(request.body, "flavor", ("auto",), new_id)
            return request.body, _key_pair(request.body)
    return request.body, None


def _with_id(
    body: bytes, wrapper: str, automatic: tuple[str, ...], new_id: Callable[[], str]
) -> tuple[bytes, ChosenId | None]:
    """Put an id into a body that has none.

    Args:
        wrapper: The field that holds the resource; "": the body is the resource.
        automatic: Ids by which a client asks for a generated one.
    """
    document = _fields(body)
    resource = _fields(document[wrapper]) if document and wrapper in document else None
    if not wrapper:
        resource = document
    if document is None or resource is None:
        return body, None
    given = _text(resource.get("id"))
    if given is None and bytes(resource.get("id", b"null")) != b"null":
        return body, None  # each cloud says what is wrong with it
    if given is not None and given not in automatic:
        return body, ChosenId(given, by_client=True)
    made = new_id()
    resource["id"] = msgspec.Raw(_encode(made))
    if wrapper:
        document[wrapper] = msgspec.Raw(_encode(resource))
    return _encode(document), ChosenId(made, by_client=False)


def _key_pair(body: bytes) -> ChosenId | None:
    document = _fields(body)
    pair = _fields(document["keypair"]) if document and "keypair" in document else None
    name = _text(pair.get("name")) if pair else None
    if pair is None or name is None:
        return None
    if _text(pair.get("public_key")) is None:
        raise Refused(
            400,
            "each cloud would generate another key pair, and you would get the private key of "
            "one: send a public_key",
        )
    return ChosenId(name, by_client=True)


def _fields(body: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return _object.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def _text(value: msgspec.Raw | None) -> str | None:
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, RecursionError):
        return None
