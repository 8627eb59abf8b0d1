"""Reads what Scopeway says in its responses: rejections, and reports on several clouds.

Holds the response hooks of requests. requests calls each with a response and with the arguments of
its `send`.
"""

import json
import re
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.openstack_client import sentences
from scopeway.control_plane.openstack_client.report import (
    Report,
    UnreadableReport,
    read_report,
)
from scopeway.control_plane.openstack_client.summary import Audience

REJECTED = "X-Scopeway-Rejected"
"""The header is "true" if Scopeway produced the response, and not a service."""

REPORT = "X-Scopeway-Report"
"""The header of each response of a fan-out."""

READS = ("GET", "HEAD", "OPTIONS")
UNAUTHORIZED, NOT_FOUND, BAD_GATEWAY = 401, 404, 502

_ID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
"""A UUID: the ids of most resources of OpenStack."""


class _Request(Protocol):
    @property
    def method(self) -> str | None: ...


class _Response(Protocol):
    @property
    def content(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def request(self) -> _Request: ...
    @property
    def status_code(self) -> int: ...
    @status_code.setter
    def status_code(self, status: int) -> None: ...
    @property
    def text(self) -> str: ...
    @property
    def url(self) -> str: ...


class ScopeRejected(ControlPlaneError):
    """Scopeway cannot serve the scope; the text has the reason and the HTTP status."""

    def __init__(self, text: str, report: Report | None = None) -> None:
        """Make the error.

        Args:
            text: What people read.
            report: What each cloud did, if the request was for several.
        """
        super().__init__(text)
        self.report = report


class RejectionHook:
    """Ends the command at a rejection by Scopeway on one connection."""

    def __init__(self, scope: str, reports: "ReportHook | None" = None) -> None:
        """Make a hook for one connection.

        Args:
            scope: In lexical form.
            reports: The other hook of the connection, if the scope is for several clouds.
        """
        self._scope = scope
        self._reports = reports
        self._unauthorized = ""
        """The URL of the last response with status 401."""

    def raise_if_rejected(self, response: _Response, *args: object, **kwargs: object) -> None:
        """End the command with the reason if Scopeway rejected a request.

        keystoneauth would hide the reason: it takes an error during version discovery for a service
        without versions. A first 401 passes, because keystoneauth may log in anew and try again.

        Raises:
            ScopeRejected: The response is a rejection.
        """
        if response.headers.get(REJECTED) != "true":
            return
        if response.status_code == UNAUTHORIZED:
            before, self._unauthorized = self._unauthorized, response.url
            if before != response.url:
                return
        if self._reports is not None and self._reports.takes_for_not_found(response):
            return
        reason = f"{_message(response)} (HTTP {response.status_code})"
        header = response.headers.get(REPORT)
        if header is None:
            raise ScopeRejected(reason)
        try:
            report = read_report(header, response.content)
        except UnreadableReport as error:
            raise ScopeRejected(f"{reason}\n{_unreadable(error)}") from None
        more = self._what_each_cloud_did(response, report)
        raise ScopeRejected(f"{reason}\n{more}" if more else reason, report)

    def _what_each_cloud_did(self, response: _Response, report: Report) -> str:
        method = response.request.method or ""
        if report.results:
            path = urlsplit(response.url).path
            return sentences.done_in_part(method, path, self._scope, report)
        # a write that was sent nowhere: the message has the reasons, and no other cloud was asked
        if method not in READS or sentences.names_failures(_message(response), report):
            return ""
        return sentences.not_answered(report)


class ReportHook:
    """Tells which clouds of a fan-out did not answer, on one connection."""

    def __init__(self, audience: Audience, *, required: bool) -> None:
        """Make a hook for one connection.

        Args:
            audience: Who is told.
            required: A read fails unless every cloud answers.
        """
        self._audience = audience
        self._required = required

    def read_report(self, response: _Response, *args: object, **kwargs: object) -> None:
        """Read the report of a successful response, if it has one.

        A body that the program reads in pieces (`stream`) stays unread.

        Raises:
            ScopeRejected: A cloud did not answer although all have to.
        """
        header = response.headers.get(REPORT)
        if header is None or response.status_code >= 400:
            return
        try:
            report = read_report(header, None if kwargs.get("stream") else response.content)
        except UnreadableReport as error:
            if self._required:
                raise ScopeRejected(_unreadable(error)) from None
            self._audience.sentence(_unreadable(error))
            return
        if report.failures and self._required:
            raise ScopeRejected(sentences.not_answered(report), report)
        if report.failures:
            self._audience.failures(_service(response.url), report)
        elif text := sentences.done_with_other_ids(response.request.method or "", report):
            self._audience.sentence(text)

    def takes_for_not_found(self, response: _Response) -> bool:
        """Return whether a response is a 404 by now: a name that no cloud has as an id.

        openstackclient and openstacksdk look for a name in two steps. They ask for a resource with
        this id, and after a 404 they list the resources with this name. Scopeway does not know that
        a resource is missing while a cloud is down, so it says 502 in the first step. No resource
        would ever be found by its name. The second step names the clouds that do not answer.
        """
        path = urlsplit(response.url).path
        header = response.headers.get(REPORT)
        if (
            self._required
            or header is None
            or response.status_code != BAD_GATEWAY
            or response.request.method != "GET"
            or _ID.search(path)
        ):
            return False
        try:
            report = read_report(header, response.content)
        except UnreadableReport:
            return False
        if report.failures >= report.asked:
            return False
        self._audience.failures(_service(response.url), report)
        response.status_code = NOT_FOUND
        return True


def _message(response: _Response) -> str:
    try:
        message = json.loads(response.text)["error"]["message"]
    except (KeyError, RecursionError, TypeError, ValueError):
        message = response.text
    return sentences.message(str(message))


def _service(url: str) -> str:
    """Return the part of a URL that tells two services apart: its address and first segment."""
    parts = urlsplit(url)
    return f"{parts.netloc}/{parts.path.lstrip('/').partition('/')[0]}"


def _unreadable(error: UnreadableReport) -> str:
    return f"unknown which clouds answered: the report of Scopeway is not readable: {error}"
