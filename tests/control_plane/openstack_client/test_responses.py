"""The response hooks, called as requests calls them, with a stand-in for its response."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from scopeway.control_plane.openstack_client.report import Report
from scopeway.control_plane.openstack_client.responses import (
    RejectionHook,
    ReportHook,
    ScopeRejected,
)


def answer(
    text: str, *, status: int = 404, url: str = "http://a/", method: str = "GET", **headers: str
) -> Any:
    return SimpleNamespace(
        status_code=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        text=text,
        content=text.encode(),
        url=url,
        request=SimpleNamespace(method=method),
    )


REJECTED = {"X_Scopeway_Rejected": "true"}


def test_a_rejection_ends_the_command_with_its_reason() -> None:
    """keystoneauth would say that the service has no versions."""
    told = RejectionHook("image:cloud-9").raise_if_rejected

    with pytest.raises(ScopeRejected, match=r"^no cloud is named cloud-9 \(HTTP 404\)$"):
        told(answer('{"error": {"message": "no cloud is named cloud-9"}}', **REJECTED), timeout=1)
    with pytest.raises(ScopeRejected, match=r"^upstream error \(HTTP 404\)$"):
        told(answer("upstream error", **REJECTED))


def test_an_error_response_of_a_service_raises_nothing() -> None:
    told = RejectionHook("image:cloud-9").raise_if_rejected

    error = '{"error": {"message": "no such image"}}'
    told(answer(error))
    told(answer(error, X_Scopeway_Rejected="false"))  # what becomes of the header of a service


def test_the_first_401_is_left_to_keystoneauth_and_the_second_is_a_rejection() -> None:
    told = RejectionHook("image:cloud-9").raise_if_rejected
    refused = answer('{"error": {"message": "expired"}}', status=401, **REJECTED)

    told(refused)
    told(answer("{}", status=201, url="http://a/v3/auth/tokens"))
    with pytest.raises(ScopeRejected, match=r"^expired \(HTTP 401\)$"):
        told(refused)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"error": 1}', "\x1b[2J", "x" * 100_000])
def test_the_text_of_a_rejection_is_harmless(text: str) -> None:
    with pytest.raises(ScopeRejected) as error:
        RejectionHook("image:a").raise_if_rejected(answer(text, **REJECTED))

    assert str(error.value).isprintable()
    assert len(str(error.value)) < 2100


def with_report(report: object, message: str = "") -> str:
    error = {"error": {"message": message}} if message else {"images": []}
    return json.dumps({**error, "scopeway:report": report})


FAILED = {"asked": 2, "answered": 1, "failed": [{"cloud": "b", "status": 503, "reason": "refused"}]}
SENTENCE = "1 of 2 clouds did not answer: b (503: refused)"


def test_a_rejected_read_says_which_clouds_did_not_answer() -> None:
    refused = answer(
        with_report(FAILED, "not all of 2 clouds answered"),
        status=502,
        X_Scopeway_Report="asked=2, answered=1",
        **REJECTED,
    )

    with pytest.raises(ScopeRejected) as error:
        RejectionHook("image:a&b").raise_if_rejected(refused)

    assert str(error.value) == f"not all of 2 clouds answered (HTTP 502)\n{SENTENCE}"


def test_a_write_that_was_sent_nowhere_does_not_say_that_clouds_did_not_answer() -> None:
    unsent = "nothing was sent to any cloud: b: no such cloud"
    refused = answer(
        with_report({**FAILED, "answered": 0}, unsent),
        status=400,
        method="POST",
        X_Scopeway_Report="asked=2, answered=0, failed=1",
        **REJECTED,
    )

    with pytest.raises(ScopeRejected) as error:
        RejectionHook("image:a&b").raise_if_rejected(refused)

    assert str(error.value) == f"{unsent} (HTTP 400)"
    assert error.value.report is not None
    assert error.value.report.failed[0].cloud == "b"


def test_clouds_that_the_reason_names_are_not_named_twice() -> None:
    message = "1 of 2 clouds failed: b (503 refused)"
    refused = answer(
        with_report(FAILED, message), status=502, X_Scopeway_Report="asked=2", **REJECTED
    )

    with pytest.raises(ScopeRejected) as error:
        RejectionHook("image:a&b").raise_if_rejected(refused)

    assert str(error.value) == f"{message} (HTTP 502)"


def test_a_write_done_in_part_says_what_to_repeat() -> None:
    results = [
        {"cloud": "a", "status": 201, "id": "4f"},
        {"cloud": "b", "status": 503, "cause": "unreachable", "reason": "refused"},
    ]
    refused = answer(
        with_report({"results": results}, "POST was done at a, and failed at b: refused (503)"),
        status=500,
        url="http://h/image/v2/images?x=1",
        method="POST",
        X_Scopeway_Report="a;status=201, b;status=503",
        **REJECTED,
    )

    with pytest.raises(ScopeRejected) as error:
        RejectionHook("image:a&b").raise_if_rejected(refused)

    assert str(error.value) == (
        "POST was done at a, and failed at b: refused (503) (HTTP 500)\n"
        "  a: done (201), id 4f\n"
        "  b: not done (503: refused)\n"
        'repeat it at b only: --scope "image:b" --id 4f'
    )


def test_a_rejection_with_an_unreadable_report_is_still_told() -> None:
    refused = answer("gone", status=502, X_Scopeway_Report="{", **REJECTED)

    with pytest.raises(ScopeRejected, match=r"^gone \(HTTP 502\)\nunknown which clouds answered"):
        RejectionHook("image:a&b").raise_if_rejected(refused)


class Heard:
    """An audience that keeps what it is told."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, Report]] = []
        self.sentences: list[str] = []

    def failures(self, service: str, report: Report) -> None:
        self.reports.append((service, report))

    def sentence(self, text: str) -> None:
        self.sentences.append(text)


def listing(text: str, header: str = "asked=2", **more: str) -> Any:
    return answer(text, status=200, url="http://h:1/image/v2/images?a=b", X_Scopeway_Report=header)


def test_the_audience_hears_of_clouds_that_did_not_answer() -> None:
    heard = Heard()

    ReportHook(heard, required=False).read_report(listing(with_report(FAILED)), stream=False)

    ((service, report),) = heard.reports
    assert service == "h:1/image"
    assert report.failures == 1


def test_nothing_is_told_if_all_clouds_answered() -> None:
    heard = Heard()
    hook = ReportHook(heard, required=True)

    hook.read_report(listing(with_report({"asked": 2, "answered": 2, "failed": []})))
    hook.read_report(answer("{}", status=200))

    assert not heard.reports
    assert not heard.sentences


def test_the_body_of_a_download_stays_unread() -> None:
    """`requests` would load the whole image into memory."""
    heard = Heard()
    download = listing("", "asked=2, answered=1")
    del download.content

    ReportHook(heard, required=False).read_report(download, stream=True)

    ((_, report),) = heard.reports
    assert report == Report(2, 1)


def test_a_read_that_requires_all_fails_even_if_scopeway_let_it_pass() -> None:
    hook = ReportHook(Heard(), required=True)

    with pytest.raises(ScopeRejected, match=r"^1 of 2 clouds did not answer: b") as error:
        hook.read_report(listing(with_report(FAILED)))
    assert error.value.report is not None
    with pytest.raises(ScopeRejected, match="unknown which clouds answered"):
        hook.read_report(listing("", "{"))


def test_an_unreadable_report_is_told() -> None:
    heard = Heard()

    ReportHook(heard, required=False).read_report(listing("", "{"))

    assert heard.sentences == [
        "unknown which clouds answered: the report of Scopeway is not readable: "
        "a value is missing at character 1"
    ]


def test_different_ids_of_a_write_are_told() -> None:
    heard = Heard()
    done = answer(
        "{}",
        status=202,
        method="POST",
        X_Scopeway_Report='a;status=202;id="1", b;status=202;id="2"',
    )

    ReportHook(heard, required=True).read_report(done)

    assert heard.sentences == ["POST was done at a (id 1), b (id 2)"]


UUID = "0f0e9c5e-8000-4000-8000-00000000000a"


def not_found_but(path: str, *, status: int = 502, method: str = "GET", asked: int = 2) -> Any:
    return answer(
        with_report({**FAILED, "asked": asked}, "not found, but 1 of 2 clouds failed: b (503 no)"),
        status=status,
        method=method,
        url=f"http://h:1/image/v2/images{path}",
        X_Scopeway_Report="asked=2, answered=1, failed=1",
        **REJECTED,
    )


def test_a_name_that_no_cloud_has_as_an_id_is_not_found_while_a_cloud_is_down() -> None:
    """Clients list the resources with this name only after a 404."""
    heard = Heard()
    found = not_found_but("/cirros")

    RejectionHook("image:a&b", ReportHook(heard, required=False)).raise_if_rejected(found)

    assert found.status_code == 404
    ((_, report),) = heard.reports
    assert report.failures == 1


@pytest.mark.parametrize(
    ("response", "required"),
    [
        (not_found_but(f"/{UUID}"), False),
        (not_found_but(f"/{UUID.replace('-', '').upper()}/members"), False),
        (not_found_but("/cirros"), True),
        (not_found_but("/cirros", status=500), False),
        (not_found_but("/cirros", method="DELETE"), False),
        (not_found_but("/cirros", asked=1), False),
    ],
)
def test_anything_else_of_which_a_cloud_is_down_is_an_error(response: Any, required: bool) -> None:
    hook = RejectionHook("image:a&b", ReportHook(Heard(), required=required))

    with pytest.raises(ScopeRejected, match="not found, but"):
        hook.raise_if_rejected(response)


def test_an_error_of_a_service_is_left_to_the_program() -> None:
    heard = Heard()

    ReportHook(heard, required=True).read_report(
        answer("{}", status=404, X_Scopeway_Report="asked=2, answered=1")
    )

    assert not heard.reports
