"""What all tests share."""

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# how long an example takes says nothing on a machine that does other things too
settings.register_profile("scopeway", deadline=None)
settings.load_profile("scopeway")

CLOUDS = "tests/openstack/"


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
