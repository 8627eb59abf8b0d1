"""What the two distributions hold, `scopeway` and `scopeway-xds` (docs/adr/0018).

They are built as `pip` builds them: first the sdist, then the wheel from the unpacked sdist.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

import scopeway

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("control_plane", "lua_filters", "xds")
XDS_PROJECT = "deploy/scopeway-xds"
MADE = (".git", ".scopeway", ".venv*", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info")
BUILD = (
    "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
)


@dataclass(frozen=True)
class Distribution:
    """A built distribution; the file names are relative to the sdist's folder or to the wheel."""

    sdist: dict[str, bytes]
    wheel: dict[str, bytes]
    links: list[str]

    @property
    def installed(self) -> dict[str, bytes]:
        """The files of the wheel that are importable, without its metadata."""
        return {name: data for name, data in self.wheel.items() if ".dist-info/" not in name}

    @property
    def metadata(self) -> Message:
        (name,) = (name for name in self.wheel if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(self.wheel[name].decode())


def run_hook(hook: str, project: Path, output: Path) -> None:
    command = [sys.executable, "-c", BUILD, hook, str(output)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def build(project: Path, output: Path) -> Distribution:
    output.mkdir()
    run_hook("build_sdist", project, output)
    (archive,) = output.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        links = [member.name for member in tar if member.issym() or member.islnk()]
        tar.extractall(output, filter="data")
    folder = output / archive.name.removesuffix(".tar.gz")
    sdist = {name: (folder / name).read_bytes() for name in files_below(folder)}
    run_hook("build_wheel", folder, output)
    (built,) = output.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        return Distribution(sdist, {name: wheel.read(name) for name in wheel.namelist()}, links)


def files_below(folder: Path) -> Iterator[str]:
    """The files, also behind links, without what Python and setuptools write beside them."""
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [each for each in folders if each != "__pycache__"]
        yield from (str((Path(where) / name).relative_to(folder)) for name in names)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without anything made, so that an earlier build has no part in this one."""
    copy = tmp_path_factory.mktemp("checkout") / "scopeway"
    ignore = shutil.ignore_patterns("__pycache__", *MADE)
    shutil.copytree(REPOSITORY, copy, symlinks=True, ignore=ignore)
    return copy


@pytest.fixture(scope="module")
def server(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return build(checkout, tmp_path_factory.mktemp("built") / "scopeway")


@pytest.fixture(scope="module")
def library(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return build(checkout / XDS_PROJECT, tmp_path_factory.mktemp("built") / "scopeway-xds")


class TestWheels:
    def test_both_wheels_together_install_every_file_of_the_source_folders(
        self, server: Distribution, library: Distribution
    ) -> None:
        source = {
            f"scopeway/{folder}/{name}": (REPOSITORY / folder / name).read_bytes()
            for folder in FOLDERS
            for name in files_below(REPOSITORY / folder)
        }
        own = {
            f"scopeway/{name}": (REPOSITORY / "src" / "scopeway" / name).read_bytes()
            for name in ("__init__.py", "py.typed")
        }

        installed, expected = server.installed | library.installed, source | own

        assert sorted(installed) == sorted(expected)
        assert [name for name in expected if installed[name] != expected[name]] == []

    def test_no_file_is_in_both_wheels(self, server: Distribution, library: Distribution) -> None:
        assert server.installed.keys() & library.installed.keys() == set()

    def test_the_wheel_of_the_library_contains_the_package_and_xds(
        self, library: Distribution
    ) -> None:
        owned = {"/".join(PurePosixPath(name).parts[:2]) for name in library.installed}

        assert owned == {"scopeway/__init__.py", "scopeway/py.typed", "scopeway/xds"}

    def test_both_wheels_install_one_top_level_package(
        self, server: Distribution, library: Distribution
    ) -> None:
        names = {PurePosixPath(name).parts[0] for name in server.installed | library.installed}

        assert names == {"scopeway"}

    def test_the_server_installs_its_command_and_the_plug_in_of_kubectl(
        self, server: Distribution, library: Distribution
    ) -> None:
        """kubectl finds the plug-in, and what completes its words, by these names."""
        (text,) = (
            data for name, data in server.wheel.items() if name.endswith("/entry_points.txt")
        )
        entries = ConfigParser()
        entries.read_string(text.decode())

        assert dict(entries["console_scripts"]) == {
            "scopeway": "scopeway.control_plane.cli:main",
            "kubectl-scopeway": "scopeway.control_plane.cli.kubectl:main",
            "kubectl_complete-scopeway": "scopeway.control_plane.cli.kubectl:complete",
        }
        assert not [name for name in library.wheel if name.endswith("/entry_points.txt")]

    def test_each_wheel_carries_the_licence(
        self, server: Distribution, library: Distribution
    ) -> None:
        for wheel in (server.wheel, library.wheel):
            (name,) = (name for name in wheel if name.endswith("/LICENSE"))
            assert wheel[name] == (REPOSITORY / "LICENSE").read_bytes()


class TestDependencies:
    def test_both_wheels_have_the_version_of_the_package(
        self, server: Distribution, library: Distribution
    ) -> None:
        versions = {server.metadata["Version"], library.metadata["Version"]}

        assert versions == {scopeway.__version__}

    def test_the_server_needs_the_library_of_the_same_version(self, server: Distribution) -> None:
        """If this fails, `__version__` has changed: change the requirement in pyproject.toml."""
        needed = server.metadata.get_all("Requires-Dist")

        assert needed is not None
        assert f"scopeway-xds=={scopeway.__version__}" in needed

    def test_the_library_needs_only_grpcio_at_the_version_of_the_server(
        self, server: Distribution, library: Distribution
    ) -> None:
        needed = library.metadata.get_all("Requires-Dist")

        assert needed is not None
        assert [each.partition("<")[0].partition(">")[0] for each in needed] == ["grpcio"]
        assert needed[0] in (server.metadata.get_all("Requires-Dist") or [])

    def test_both_distributions_support_the_same_pythons(self) -> None:
        server, library = (
            tomllib.loads((REPOSITORY / project / "pyproject.toml").read_text())["project"]
            for project in (".", XDS_PROJECT)
        )

        assert server["requires-python"] == library["requires-python"]
        assert [each for each in server["classifiers"] if "Python" in each] == [
            each for each in library["classifiers"] if each.startswith("Programming Language")
        ]


class TestSdists:
    def test_sdists_contain_files_instead_of_links(
        self, server: Distribution, library: Distribution
    ) -> None:
        assert server.links == []
        assert library.links == []
        assert (
            server.sdist["src/scopeway/control_plane/__init__.py"]
            == (REPOSITORY / "control_plane" / "__init__.py").read_bytes()
        )

    def test_the_sdist_of_the_server_is_the_whole_repository(self, server: Distribution) -> None:
        """If this fails, add a line for the new file or folder to MANIFEST.in."""
        if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
            pytest.skip("no git checkout")
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
        names = [name for name in listed.stdout.decode().split("\0") if name]
        folders_by_link = [name for name in names if (REPOSITORY / name).is_dir()]
        files = {name for name in names if (REPOSITORY / name).is_file()}
        made = {"PKG-INFO", "setup.cfg"}
        held = {
            name
            for name in server.sdist.keys() - made
            if ".egg-info/" not in name
            and not any(name.startswith(f"{link}/") for link in folders_by_link)
        }

        assert held == files
