"""`scopeway ca`, as people type it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture
def ca(scopeway: Command, tmp_path: Path) -> Command:
    """Run `scopeway ca` with the folder `certs` of the test."""

    def run(verb: str, *arguments: str) -> Any:
        return scopeway("ca", verb, "--dir", tmp_path / "certs", *arguments)

    return run


def test_ca_init_issue_and_renew_print_what_they_wrote(ca: Command, tmp_path: Path) -> None:
    init = ca("init", "--trust-domain", "edge.example")
    issue = ca("issue", "--control-plane", "--address", "cp.edge.example", "cloud-1")
    renew = ca("renew")
    forced = ca("renew", "--force", "cloud-1")

    assert init.out.startswith("authority of the trust domain edge.example in ")
    assert [line.partition(" ")[0] for line in issue.out.splitlines()] == [
        "control-plane",
        "cloud-1",
    ]
    assert renew.out.splitlines()[0].startswith("control-plane not due, until ")
    assert forced.out.startswith(f"cloud-1 in {tmp_path}/certs/cloud/cloud-1, until ")
    assert (init.err, issue.err, renew.err, forced.err) == ("", "", "", "")


def test_each_rotation_step_prints_what_to_do_next(ca: Command) -> None:
    ca("init")
    ca("issue", "cloud-1")
    steps = [ca("rotate").out for _ in range(3)]

    assert [each[:11] for each in steps] == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]
    assert steps[0].endswith("bring the files to all sites and control planes, then rotate again\n")
    assert steps[2].endswith("bring the files to all sites and control planes\n")


def test_renew_warns_of_an_authority_that_ends_soon(ca: Command) -> None:
    ca("init", "--lifetime", "1m")
    ca("issue", "cloud-1", "--lifetime", "1m")

    assert "the authority itself ends on" in ca("renew").err


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("issue", "cloud-1"), 1, "contains no authority; create one: scopeway ca init --dir"),
        (("issue", "Cloud-1"), 2, "'Cloud-1' is not a name of lower case letters"),
        (("issue", "../x"), 2, "'../x' is not a name of lower case letters"),
        (("issue",), 2, "name clouds, or --control-plane"),
        (("issue", "a", "--lifetime", "1y"), 2, "'1y' is not a lifetime: 30d, 12h or 90m"),
        (("issue", "a", "--address", "x:1"), 2, "'x:1' is not"),
        (("init", "--trust-domain", "A/b"), 2, "'A/b' is not a trust domain"),
        (("renew", "a"), 1, "contains no authority"),
    ],
)
def test_errors_of_ca_are_one_sentence(
    ca: Command, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    outcome = ca(*arguments)

    assert outcome.status == status
    assert sentence in outcome.err


def test_a_certificate_is_not_replaced_by_accident(ca: Command, tmp_path: Path) -> None:
    ca("init")
    ca("issue", "cloud-1")
    file = tmp_path / "certs" / "cloud" / "cloud-1" / "tls.crt"
    before = file.read_bytes()
    refused = ca("issue", "cloud-2", "cloud-1")

    assert refused.status == 1
    assert "cloud-1 has a certificate, until" in refused.err
    assert file.read_bytes() == before
    assert not (tmp_path / "certs" / "cloud" / "cloud-2").exists()
    assert ca("issue", "cloud-1", "--force").status == 0
    assert file.read_bytes() != before


def test_renewing_a_certificate_that_was_never_issued_is_an_error(ca: Command) -> None:
    ca("init")
    outcome = ca("renew", "cloud-7")

    assert outcome.status == 1
    assert outcome.err.startswith("scopeway: not all were renewed\ncloud-7 has no certificate to")


def test_a_certificate_that_cannot_be_renewed_does_not_stop_the_renewal_of_others(
    ca: Command, tmp_path: Path
) -> None:
    ca("init")
    ca("issue", "cloud-1", "cloud-2", "cloud-3")
    damaged = tmp_path / "certs" / "cloud" / "cloud-2" / "tls.crt"
    damaged.write_text("")
    outcome = ca("renew", "--force")

    assert outcome.status == 1
    assert [line.partition(" ")[0] for line in outcome.out.splitlines()] == ["cloud-1", "cloud-3"]
    assert outcome.err == (
        f"scopeway: not all were renewed\n{damaged} holds no certificate in PEM\n"
    )
