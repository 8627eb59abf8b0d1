"""Programs of the image run as in a cluster: read-only root, any user, one writable volume."""

import tomllib
from collections.abc import Callable

import pytest

from harness.container_image import REPOSITORY, Image, ImageRun
from harness.http import answers
from harness.ports import free_ports

Start = Callable[..., ImageRun]

PROGRAMS = sorted(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"])
CLOUD = REPOSITORY / "deploy/examples/clouds/cloud-1.yaml"
IMPORT_ALL = """
import pkgutil, sys, scopeway
for module in pkgutil.walk_packages(scopeway.__path__, "scopeway."):
    if not module.name.endswith("__main__") and ".openstack_client.plugin" not in module.name:
        __import__(module.name)
import lightkube
"""
PRINT_NUMBER_OF_AUTHORITIES = """
import ssl
print(ssl.create_default_context().cert_store_stats()["x509_ca"])
"""
PRINT_WRITABLE = """
import os
for folder, folders, names in os.walk("/"):
    folders[:] = {*folders} - ({"proc", "dev"} if folder == "/" else set())
    for path in (folder, *(os.path.join(folder, name) for name in names)):
        if os.access(path, os.W_OK):
            print(path)
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_of_the_distribution_is_in_the_image(container: Start, program: str) -> None:
    helped = container(program, "--help")

    assert helped.wait() == 0
    assert "Show this message and exit." in helped.log()


def test_the_program_that_an_engine_starts_tells_its_version(
    image: Image, container: Start
) -> None:
    told = container(*image.description["config"]["Entrypoint"], "--version")

    assert told.wait() == 0
    version = image.description["config"]["Labels"]["org.opencontainers.image.version"]
    assert told.log().strip().endswith(version)


def test_every_module_finds_what_it_imports(container: Start) -> None:
    imported = container("python", "-c", IMPORT_ALL)

    assert (imported.wait(), imported.log()) == (0, "")


def test_openssl_finds_the_public_certificate_authorities(container: Start) -> None:
    loaded = container("python", "-c", PRINT_NUMBER_OF_AUTHORITIES)

    assert loaded.wait() == 0
    assert int(loaded.log()) > 0


def test_serve_is_ready_and_ends_when_it_is_asked_to(container: Start) -> None:
    xds, admin = free_ports(2)
    listen = ["--xds-listen", f"127.0.0.1:{xds}", "--admin-listen", f"127.0.0.1:{admin}"]
    serve = container(
        *("scopeway", "serve", "--registry", "dir:/state/clouds", "--state-dir", "/state/saved"),
        *listen,
        files={"clouds/cloud-1.yaml": CLOUD.read_text()},
    )
    serve.wait_until(lambda: answers(f"http://127.0.0.1:{admin}/readyz"), "it is ready")

    serve.ask_to_end()

    assert serve.wait() == 0
    assert "Read-only file system" not in serve.log()


def test_the_collector_listens_on_the_volume_and_ends_when_it_is_asked_to(container: Start) -> None:
    collect = container("scopeway", "collect", "cloud-1", "--socket-dir", "/state")
    collect.wait_until((collect.volume / "collector.sock").is_socket, "its socket is there")

    collect.ask_to_end()

    assert collect.wait() == 0


def test_nothing_but_the_volume_can_be_written(container: Start) -> None:
    tried = container("python", "-c", PRINT_WRITABLE)

    assert tried.wait() == 0
    assert tried.log().splitlines() == ["/state"]
