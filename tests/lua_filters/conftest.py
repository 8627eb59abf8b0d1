"""The Lua modules, and the bundled filters behind a strict stand-in for Envoy."""

from collections.abc import Callable

import pytest

from lua_envoy import Filter, Modules, make_filter, make_modules


@pytest.fixture
def modules() -> Modules:
    return make_modules()


@pytest.fixture(scope="session")
def new_modules() -> Callable[..., Modules]:
    return make_modules


@pytest.fixture(scope="session")
def new_filter() -> Callable[..., Filter]:
    return make_filter


@pytest.fixture
def front() -> Filter:
    return make_filter("front")


@pytest.fixture
def peer() -> Filter:
    return make_filter("peer")
