"""The pinned dependencies equal those of pyproject.toml, and name no download location."""

import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PINS = REPOSITORY / "deploy" / "requirements"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
BLOCK = re.compile(r"^([A-Za-z0-9_.-]+)==\S+(?: ;[^\\]*)? ?\\\n((?: +--hash=\S+(?: \\)?\n)+)", re.M)


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def pinned(file: str) -> set[str]:
    """The packages of a file that have a version and at least one hash."""
    return {name_of(name) for name, _ in BLOCK.findall((PINS / file).read_text())}


def wanted(*extras: str) -> set[str]:
    requirements = list(PROJECT["dependencies"])
    for extra in extras:
        requirements += PROJECT["optional-dependencies"][extra]
    return {name_of(each) for each in requirements} - {"scopeway", "scopeway-xds"}


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("dev.txt", ("openstack", "demo", "dev")),
        ("openstack.txt", ("openstack",)),
        ("openstack-full.txt", ("openstack",)),
    ],
)
def test_every_dependency_is_pinned_with_a_hash(file: str, extras: tuple[str, ...]) -> None:
    """If this fails, pyproject.toml has changed: run `make pins`."""
    assert wanted(*extras) <= pinned(file)


@pytest.mark.parametrize(
    "file", ["dev.txt", "build.txt", "dist.txt", "openstack.txt", "openstack-full.txt"]
)
def test_pin_files_contain_only_pinned_dependencies(file: str) -> None:
    rest = BLOCK.sub("", (PINS / file).read_text())

    assert [line for line in rest.splitlines() if line and not line.lstrip().startswith("#")] == []
    assert "://" not in rest


def asked_for(*files: str) -> set[str]:
    return {
        name_of(line)
        for file in files
        for line in (PINS / file).read_text().splitlines()
        if not line.startswith("-r ")
    }


def test_the_services_of_the_demo_are_pinned() -> None:
    asked = asked_for("build.in", "openstack.in", "openstack-full.in")

    assert asked <= pinned("openstack-full.txt")


def test_build_tools_of_the_distributions_are_pinned() -> None:
    assert asked_for("dist.in") <= pinned("dist.txt")


def test_build_tools_of_the_services_are_pinned_with_them() -> None:
    """At the same version: it is not replaced after it has built."""
    (build,) = BLOCK.finditer((PINS / "build.txt").read_text())

    for file in ("openstack.txt", "openstack-full.txt"):
        assert build[0] in (PINS / file).read_text()
