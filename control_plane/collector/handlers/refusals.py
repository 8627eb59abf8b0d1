"""The errors that a handler answers with, in place of what was asked for."""

from scopeway.control_plane.collector.http.server import Writer
from scopeway.control_plane.collector.messages.report import Report, error_body
from scopeway.control_plane.collector.messages.request import FanoutRequest


def refuse(out: Writer, request: FanoutRequest, report: Report) -> None:
    """Answer with a report alone; an answer that has begun breaks off."""
    status = 502 if request.require_all else common_status(report)
    out.error(status, error_body(status, report.sentence(), report), report.header())


def common_status(report: Report) -> int:
    """Return the status that all failures share, if it is the client's fault; else 502."""
    found = {each.status for each in report.failed}
    if len(found) == 1 and 400 <= (status := found.pop()) < 500:
        return status
    return 502
