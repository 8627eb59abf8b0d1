"""What came of a write in each cloud, and what its client is told. Pure.

A write is done in all clouds, or in none of them with one common reason, or its answer is a 500
that says what happened where and what to repeat. It is a 500 because clients and proxies repeat a
502, 503 or 504 by themselves, and take a 207 for a success.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from scopeway.control_plane.collector.handlers.chosen_ids import ChosenId
from scopeway.control_plane.collector.messages.request import FanoutRequest

IDEMPOTENT = ("PUT", "DELETE")

Done = Literal["yes", "no", "perhaps"]


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What one cloud answered to a write."""

    cloud: str
    status: int
    """0: there was no answer."""
    reason: str = ""
    id: str | None = None
    """Of the resource in the answer."""
    location: str | None = None
    unsent: bool = False
    """Whether it is certain that the cloud did not get the request."""

    @property
    def succeeded(self) -> bool:
        """Whether the cloud did it now."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a write is answered."""

    answer: int | None
    """The index of the result whose answer the client gets; None: `message` is the answer."""
    done: tuple[Done, ...]
    """For each result."""
    title: str = ""
    message: str = ""


def outcome(
    request: FanoutRequest, results: Sequence[WriteResult], chosen: ChosenId | None
) -> Outcome:
    """Return how a write is answered.

    Args:
        results: One for each member, in their order.
        chosen: The id that the request carried.
    """
    done = tuple(_done(request, each, chosen) for each in results)
    first = next((at for at, each in enumerate(results) if each.succeeded), None)
    if first is not None and set(done) == {"yes"}:
        return Outcome(first, done)
    same = first is None and "perhaps" not in done and len({each.status for each in results}) == 1
    # a client that deletes takes a 404 for success: it is one only if a service has said so
    if same and not any(each.unsent and _is_absent(request, each) for each in results):
        return Outcome(0, done)
    return Outcome(None, done, _title(done), _sentence(request, results, done, chosen))


def report_document(results: Sequence[WriteResult], done: Sequence[Done]) -> dict[str, Any]:
    """Return the report that stands in the body."""
    return {
        "asked": len(results),
        "answered": sum(each == "yes" for each in done),
        "results": [
            {
                "cloud": each.cloud,
                "status": each.status,
                "done": how,
                "id": each.id,
                "location": each.location,
                "reason": each.reason or None,
            }
            for each, how in zip(results, done, strict=True)
        ],
    }


def id_in(body: bytes) -> str | None:
    """Return the id of the resource in an answer: at its top, or in its one object."""
    try:
        found = _Identified.decode(body)
        if found.id is not None:
            return found.id
        inner = _wrapped.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return next(iter(inner.values())).id if len(inner) == 1 else None


class _Resource(msgspec.Struct):
    id: str | None = None


_Identified = msgspec.json.Decoder(_Resource)
_wrapped = msgspec.json.Decoder(dict[str, _Resource])


def _done(request: FanoutRequest, result: WriteResult, chosen: ChosenId | None) -> Done:
    if result.succeeded:
        return "yes"
    if _is_absent(request, result) and not result.unsent:
        return "yes"  # it is not there, which was wanted
    if result.status == 409 and chosen is not None and chosen.by_client:
        return "yes"  # an earlier try with this id was carried out
    if result.unsent or 300 <= result.status < 500:
        return "no"
    return "perhaps"


def _is_absent(request: FanoutRequest, result: WriteResult) -> bool:
    """Return whether what was to be deleted is not there, if the service itself says so."""
    return result.status == 404 and request.method == "DELETE"


def _title(done: Sequence[Done]) -> str:
    if "yes" in done:
        return "Done in part"
    return "Perhaps done" if "perhaps" in done else "Not done"


def _sentence(
    request: FanoutRequest,
    results: Sequence[WriteResult],
    done: Sequence[Done],
    chosen: ChosenId | None,
) -> str:
    clouds: dict[Done, list[str]] = {"yes": [], "no": [], "perhaps": []}
    for each, how in zip(results, done, strict=True):
        said = each.reason and each.reason != f"HTTP {each.status}"
        because = f": {each.reason} ({each.status})" if said else f" ({each.status})"
        clouds[how].append(each.cloud if how == "yes" else each.cloud + because)
    parts = [f"was done at {', '.join(clouds['yes']) or 'no cloud'}"]
    if clouds["no"]:
        parts.append(f"failed at {', '.join(clouds['no'])}")
    if clouds["perhaps"]:
        parts.append(f"may have been done at {', '.join(clouds['perhaps'])}")
    return f"{request.method} {', and '.join(parts)}; {_advice(request, results, done, chosen)}"


def _advice(
    request: FanoutRequest,
    results: Sequence[WriteResult],
    done: Sequence[Done],
    chosen: ChosenId | None,
) -> str:
    """Return what to repeat, and where."""
    if request.method in IDEMPOTENT:
        return "you can repeat it as it is"
    if chosen is not None:
        return (
            f"repeat it with the id {chosen.id}: clouds that have it answer 409, which then counts "
            "as done"
        )
    rest = [each.cloud for each, how in zip(results, done, strict=True) if how != "yes"]
    if "perhaps" in done:
        unsure = [each.cloud for each, how in zip(results, done, strict=True) if how == "perhaps"]
        look = f"look first whether {', '.join(unsure)} did it, then "
    else:
        look = ""
    return f'{look}repeat it only there: --scope "{{{request.service}: {" & ".join(rest)}}}"'
