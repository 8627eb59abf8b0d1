"""Tests of the image. `make test-image` prepares what they need and runs them."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.container_image import Buildah, Image, ImageRun

STORED = 3e9
"""Bytes that buildah stores at most: its containers are copies. They are quick in memory."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.image)


@pytest.fixture(scope="session")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    made = Buildah(folder_in_memory() or tmp_path_factory.mktemp("buildah"))
    yield made
    made.clean()


def folder_in_memory() -> Path | None:
    """Make a folder for what buildah stores, if there is room; remove those of killed runs."""
    memory = Path("/dev/shm")
    for left in memory.glob("scopeway-image-*"):
        if not Path("/proc", left.name.rpartition("-")[2]).exists():
            shutil.rmtree(left)
    if not memory.is_dir() or shutil.disk_usage(memory).free < STORED:
        return None
    folder = memory / f"scopeway-image-{os.getpid()}"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(scope="session")
def python(buildah: Buildah) -> str:
    """The base is imported; its version of Python."""
    return buildah.import_base()


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the build of `image` leaves its files."""
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="session")
def image(buildah: Buildah, python: str, output: Path) -> Image:
    return buildah.build("localhost/scopeway:first", output, python)


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Iterator[Callable[..., ImageRun]]:
    """Start a program of the image."""
    started: list[ImageRun] = []

    def start(*command: object, **options: object) -> ImageRun:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(ImageRun(image, folder, *command, **options))  # type: ignore[arg-type]
        started[-1].launch()
        return started[-1]

    yield start
    for each in started:
        each.kill()
