"""What people read about the clouds of a fan-out: pure functions from a report to text.

Every text of a report is from outside. It is cut, and characters that could write to a terminal are
escaped.
"""

import re

from scopeway.control_plane.openstack_client.report import CloudResult, Report
from scopeway.control_plane.scope import is_cloud_name

MAX_NAMES = 10
"""Clouds that a sentence names; it counts the others."""

_NAME = 63
_REASON = 120
_MESSAGE = 2000
_FANOUT = "&^"
_CREATED_WITH_ID = re.compile(r"/(images|flavors)/?$")
"""The ends of the paths whose POST takes the new id, with the option `--id` of `openstack`."""
_NOT_SENT = frozenset({"unreachable", "policy", "unknown", "no-service", "cordoned", "not-asked"})
"""Causes of a cloud that surely did not get the request."""
_UNREACHABLE = re.compile(r"\S+ cannot be reached: ")


def shown(text: str, limit: int) -> str:
    """Return text from outside on one line: cut, and with `\\x1b` for an escape character."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut
    )


def message(text: str) -> str:
    """Return the message of an error, which may have several lines."""
    return "\n".join(shown(line, _MESSAGE) for line in text[:_MESSAGE].splitlines())


def is_fanout(scope: str) -> bool:
    """Return whether a scope in lexical form may send a request to several clouds at once."""
    return any(operator in scope for operator in _FANOUT)


def not_answered(report: Report) -> str:
    """Return which clouds did not answer a read; empty if all did."""
    if not report.failures:
        return ""
    names = ", ".join(f"{_name(each)} ({_why(each)})" for each in report.failed[:MAX_NAMES])
    more = report.failures - min(len(report.failed), MAX_NAMES)
    if names and more:
        names += f", and {more} more"
    clouds = "cloud" if report.asked == 1 else "clouds"
    counted = f"{report.failures} of {report.asked} {clouds} did not answer"
    return f"{counted}: {names}" if names else counted


def names_failures(text: str, report: Report) -> bool:
    """Return whether a text names the first clouds that did not answer."""
    return bool(report.failed) and all(f"{each.cloud} (" in text for each in report.failed[:3])


def done_with_other_ids(method: str, report: Report) -> str:
    """Return where a write was done if the clouds gave it different ids; else nothing."""
    ids = {each.id for each in report.results}
    if len(ids) < 2 or not all(_done(each, method) == "yes" for each in report.results):
        return ""
    clouds = ", ".join(f"{_name(each)} (id {shown(each.id, 100)})" for each in report.results)
    return f"{shown(method, 20)} was done at {clouds}"


def done_in_part(method: str, path: str, scope: str, report: Report) -> str:
    """Return a line for each cloud of a write, and how to repeat what is not done.

    Args:
        method: The method of the request.
        path: Its path, without the query.
        scope: The scope in lexical form.
        report: What the clouds did. Without results the text is empty.
    """
    if not report.results:
        return ""
    lines = [f"  {_name(each)}: {_outcome(each, method)}" for each in report.results[:MAX_NAMES]]
    if len(report.results) < report.asked or len(report.results) > MAX_NAMES:
        lines.append(f"  and {report.asked - len(lines)} more")
    failed = [each for each in report.results if _done(each, method) != "yes"]
    if failed and len(failed) < len(report.results):
        lines.append(_remedy(method, path, scope, report, failed))
    return "\n".join(lines).rstrip()


def _remedy(method: str, path: str, scope: str, report: Report, failed: list[CloudResult]) -> str:
    names = [each.cloud for each in failed]
    if not all(map(is_cloud_name, names)):
        return ""
    alone = _with_members(scope, names)
    option = f': --scope "{alone}"' if alone else ""
    ids = {each.id for each in report.results if each not in failed}
    if option and method == "POST" and _CREATED_WITH_ID.search(path) and len(ids) == 1:
        (chosen,) = ids
        if re.fullmatch(r"[A-Za-z0-9-]{1,64}", chosen):
            option += f" --id {chosen}"
    at = ", ".join(names)
    if unclear := [each.cloud for each in failed if _done(each, method) == "perhaps"]:
        where = ", ".join(unclear)
        return f"first see whether it was done at {where}; then repeat it at {at} only{option}"
    return f"repeat it at {at} only{option}"


def _with_members(scope: str, names: list[str]) -> str:
    """Return the scope with the clouds of its only fan-out replaced; empty if it has several."""
    bindings = [binding.partition(":") for binding in scope.split(";")]
    if sum(is_fanout(expression) for _, _, expression in bindings) != 1:
        return ""
    members = "&".join(names)
    return ";".join(
        f"{service}:{members if is_fanout(expression) else expression}"
        for service, _, expression in bindings
    )


def _done(result: CloudResult, method: str) -> str:
    """Return whether a cloud did a write: "yes", "no" or "perhaps"."""
    if result.done in {"yes", "no", "perhaps"}:
        return result.done
    if 200 <= result.status < 300 or (method == "DELETE" and result.status == 404):
        return "yes"
    return "no" if 300 <= result.status < 500 or result.cause in _NOT_SENT else "perhaps"


def _outcome(result: CloudResult, method: str) -> str:
    identity = f", id {shown(result.id, 100)}" if result.id else ""
    match _done(result, method):
        case "yes":
            return f"done ({result.status}){identity}"
        case "no":
            return f"not done ({_why(result)})"
    return f"perhaps done ({_why(result)})"


def _name(result: CloudResult) -> str:
    return shown(result.cloud, _NAME) or "?"


def _why(result: CloudResult) -> str:
    if result.cause == "timeout":
        return "timeout"
    reason = _UNREACHABLE.sub("", shown(result.reason, _REASON), count=1)
    words = [str(result.status or ""), reason or shown(result.cause, 40)]
    return ": ".join(word for word in words if word) or "no reason given"
