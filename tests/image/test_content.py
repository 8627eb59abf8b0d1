"""What the image holds, and what it does not."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from harness.container_image import REPOSITORY, Buildah, Image

PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
FOR_EMSCRIPTEN = {"httpx2-jsfetch"}
MEGABYTES = 150
"""Of files; a registry holds about a third of it, since layers are compressed."""


def files(image: Image) -> list[Path]:
    return [each for each in image.tree.rglob("*") if stat.S_ISREG(each.lstat().st_mode)]


def test_two_builds_have_the_same_digest(
    buildah: Buildah, python: str, image: Image, tmp_path: Path
) -> None:
    """At another time, in another folder, with another umask; buildah keeps no layers by itself."""
    old = os.umask(0o077)
    try:
        again = buildah.build("localhost/scopeway:again", tmp_path, python)
    finally:
        os.umask(old)

    assert again.digest.startswith("sha256:")
    assert again.digest == image.digest


def test_size_is_bounded(image: Image) -> None:
    size = sum(path.stat().st_size for path in files(image)) / 1e6
    parts = {path: path.stat().st_size for path in files(image)}
    print(f"{size:.0f} MB in {len(parts)} files; the largest:")
    for path in sorted(parts, key=lambda each: -parts[each])[:8]:
        print(f"{parts[path] / 1e6:6.1f} MB /{path.relative_to(image.tree)}")

    assert size <= MEGABYTES


def test_it_has_no_shell_no_installer_and_nothing_that_only_builds(image: Image) -> None:
    names = {path.name for path in image.tree.rglob("*")}
    programs = {
        str(path.relative_to(image.tree)) for path in files(image) if os.access(path, os.X_OK)
    }
    programs = {each for each in programs if ".so" not in each and "ld-linux" not in each}

    assert names.isdisjoint(
        {"sh", "bash", "dash", "busybox", "pip", "setuptools", "apt", "dpkg-deb"}
    )
    assert [name for name in names if name.endswith((".h", ".a", ".pyx", ".whl", ".tar.gz"))] == []
    assert {
        each for each in programs if each.startswith(("usr/bin", "bin", "sbin", "usr/sbin"))
    } == {next(each for each in programs if re.fullmatch(r"usr/bin/python3\.\d+", each))}


def test_everything_is_roots_and_nobody_else_may_write(image: Image) -> None:
    found = [path.lstat() for path in image.tree.rglob("*")]
    modes = {stat.S_IMODE(each.st_mode) for each in found if not stat.S_ISLNK(each.st_mode)}

    assert {(each.st_uid, each.st_gid) for each in found} == {(0, 0)}
    assert modes == {0o644, 0o755}


def test_every_source_has_its_byte_code(image: Image) -> None:
    """So that the read-only root costs no start-up time."""
    sources = [path for path in files(image) if path.suffix == ".py"]
    compiled = {
        path.parent.parent / path.name.split(".")[0]
        for path in files(image)
        if path.suffix == ".pyc"
    }
    left = [path for path in sources if path.with_suffix("") not in compiled]

    assert left == []


def test_it_names_no_host_and_no_folder_of_this_machine(image: Image, output: Path) -> None:
    told = [
        REPOSITORY,
        Path.home(),
        output,
        *map(Path, os.environ.get("PIP_FIND_LINKS", "").split()),
    ]
    words = {str(each).encode() for each in told if len(each.parts) > 2}
    words |= {each.encode() for each in indexes_of_this_machine()}
    words |= {b"/context/"}
    for path in files(image):
        content = path.read_bytes()
        assert [word for word in words if word in content] == [], path
    assert [path for path in files(image) if path.name == "direct_url.json"] == []


def indexes_of_this_machine() -> set[str]:
    """The addresses of the indexes of pip and of the mirrors of apt, with their paths.

    Licences and descriptions of packages may name the host of a public one.
    """
    pip = subprocess.run(
        [REPOSITORY / ".venv-dist/bin/python", "-m", "pip", "config", "list"],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    ).stdout
    apt = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    ).stdout
    addresses = map(urlsplit, re.findall(r"https?://[^\s'\"]+", pip + apt))
    return {f"{each.hostname}{each.path.rstrip('/')}" for each in addresses if each.hostname}


def test_it_says_what_it_is_and_runs_as_nobody(image: Image) -> None:
    config = image.description["config"]
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in config["Labels"].items()
        if name.startswith("org.opencontainers.image.")
    }

    assert (config["User"], config["Entrypoint"]) == ("65532:65532", ["scopeway"])
    assert not config.get("Cmd")
    assert not config.get("Volumes")
    assert labels["title"] == "scopeway"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"]
    assert image.description["created"].startswith(labels["created"].removesuffix("Z"))


def test_the_bill_of_materials_lists_what_is_pinned_and_what_came_from_the_base(
    image: Image, output: Path
) -> None:
    bill = json.loads((image.tree / "usr/share/doc/scopeway/sbom.cdx.json").read_text())
    listed = {
        (each["purl"].split("/")[0], each["name"], each["version"]) for each in bill["components"]
    }
    python = {
        (name.lower().replace("_", "-"), version)
        for kind, name, version in listed
        if kind == "pkg:pypi"
    }
    pinned = set(PINNED.findall((REPOSITORY / "deploy/requirements/serve.txt").read_text()))

    assert json.loads((output / "sbom.cdx.json").read_text()) == bill
    assert {(n, v) for n, v in pinned if n not in FOR_EMSCRIPTEN} | {
        ("scopeway-xds", bill["metadata"]["component"]["version"])
    } == python
    assert {"libc6", "libssl3"} <= {name for kind, name, _ in listed if kind == "pkg:deb"}
    assert "python" in {name for kind, name, _ in listed if kind == "pkg:generic"}
