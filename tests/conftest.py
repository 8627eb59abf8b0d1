"""What all tests share."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# how long an example takes says nothing on a machine that does other things too
settings.register_profile("scopeway", deadline=None)
settings.load_profile("scopeway")

pytest.register_assert_rewrite("cloud_command_cases", "service_type_command_cases")

CLOUDS = "tests/openstack/"
ELSEWHERE = {
    "whole_clouds": "with whole clouds (make test-openstack)",
    "kubernetes": "with a Kubernetes API server (make test-kubernetes)",
    "image": "of the image (make test-image)",
}
"""By marker, the tests that `make test` leaves out, and how to run them."""
LEFT_OUT = pytest.StashKey[Counter[str]]()
"""By marker, how many tests this run leaves out."""


class ByFile(LoadScopeScheduling):
    """A file's tests run in one worker, and so do all that share the real clouds.

    (`--dist=loadgroup` of xdist 3.8 groups nothing under the newest pytest.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return CLOUDS if nodeid.startswith(CLOUDS) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write the output of goldens and transcripts anew: commit only what you understand",
    )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written instead of compared."""
    return bool(request.config.getoption("--rewrite"))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = Counter()


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        marker = next((each for each in ELSEWHERE if item.get_closest_marker(each)), None)
        if marker is not None:
            item.config.stash[LEFT_OUT][marker] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # of xdist: only its workers select tests
        session.config.workeroutput["left_out"] = dict(session.config.stash[LEFT_OUT])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # all workers leave out the same tests; one that crashed has no output
    left_out = getattr(node, "workeroutput", {}).get("left_out", {})
    node.config.stash[LEFT_OUT] |= Counter(left_out)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    counts = config.stash[LEFT_OUT]
    parts = [
        f"{counts[each]} test{'s' * (counts[each] > 1)} {words}"
        for each, words in ELSEWHERE.items()
        if counts[each]
    ]
    if parts:
        terminalreporter.write_line(f"left out: {', '.join(parts)}")
