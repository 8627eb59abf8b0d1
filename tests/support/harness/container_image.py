"""Builds the image of the control plane with buildah, and runs programs of its file tree.

`ImageRun` does with the kernel's name spaces what a container engine does: the root is read-only,
the user is another one, and the program is the first process of its container. `make test-image`
installs buildah and makes the base (tests/support/debian_base).
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.process import Process, clean_environment

REPOSITORY = Path(__file__).parents[3]
BUILD = REPOSITORY / "deploy/image/build_image"
MAKE_BASE = REPOSITORY / "tests/support/debian_base/make_base"
BASE = "localhost/debian-base"
DEVICES = ("null", "zero", "full", "random", "urandom")
SOMEBODY = 12345
"""A user that the image does not know: a cluster may choose one for each name space."""

_START = """
set -e
image=$1 root=$2 volume=$3 user=$4 path=$5
shift 5
mount --bind "$image" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/dev"
for device in {devices}; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$volume" "$root/state"
PATH=$path exec /usr/bin/setpriv --no-new-privs \
    /usr/sbin/chroot --userspec="$user:$user" --groups= "$root" "$@"
""".format(devices=" ".join(DEVICES))


class Buildah:
    """buildah with a storage of its own, and without a daemon, user name spaces and overlays."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which exists, for all that is stored; `clean` empties it."""
        self.folder = folder
        settings = folder / "storage.conf"
        settings.write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
        )
        self.environment = clean_environment(
            CONTAINERS_STORAGE_CONF=str(settings), BUILDAH_ISOLATION="chroot", TMPDIR=str(folder)
        )

    def run(self, *arguments: object) -> str:
        """Run `buildah`; return what it prints."""
        return subprocess.run(
            ["buildah", *map(str, arguments)],
            env=self.environment,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        ).stdout.strip()

    def import_base(self) -> str:
        """Import Debian with Python as the image BASE; return the version of its Python."""
        archive = subprocess.run([MAKE_BASE], check=True, text=True, stdout=subprocess.PIPE).stdout
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, archive.strip(), "/")
        self.run("commit", "--quiet", container, BASE)
        root = Path(self.run("mount", container))
        version = (root / "usr/bin/python3").readlink().name.removeprefix("python")
        self.run("rm", container)
        return version

    def build(self, tag: str, output: Path, python: str, **environment: str) -> "Image":
        """Build the image as `make image` does."""
        more = {
            "ENGINE": "buildah",
            "BASE": BASE,
            "BASE_PYTHON": python,
            "TAG": tag,
            "OUTPUT": str(output),
        }
        subprocess.run([BUILD], env=self.environment | more | environment, check=True)
        return Image(self, tag)

    def clean(self) -> None:
        """Unmount and remove all containers and images."""
        self.run("rm", "--all")
        shutil.rmtree(self.folder)


class Image:
    """A built image."""

    def __init__(self, buildah: Buildah, tag: str) -> None:
        self._buildah = buildah
        self._tag = tag

    @cached_property
    def description(self) -> dict[str, Any]:
        """The image's configuration and history, in the form of OCI."""
        described: dict[str, Any] = self._inspected["OCIv1"]
        return described

    @cached_property
    def digest(self) -> str:
        """The digest of its manifest, which names the content of all layers."""
        return str(self._inspected["FromImageDigest"])

    @cached_property
    def tree(self) -> Path:
        """Its file tree; nothing may write to it."""
        return Path(self._buildah.run("mount", self._buildah.run("from", self._tag)))

    @property
    def environment(self) -> dict[str, str]:
        pairs = (each.partition("=") for each in self.description["config"]["Env"])
        return {name: value for name, _, value in pairs}

    @property
    def _inspected(self) -> Any:
        return json.loads(self._buildah.run("inspect", "--type", "image", self._tag))


class ImageRun(Process):
    """One container: a command of the image, with a writable volume at /state.

    A container engine makes the folders that it mounts; so does this one, in a copy of the tree.
    """

    def __init__(
        self,
        image: Image,
        folder: Path,
        *command: object,
        user: int = SOMEBODY,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            image: What is run.
            folder: Gets the log and the volume.
            command: Program and arguments; the program is looked for as the image says.
            user: Its user and group.
            files: What the volume holds at the start, by path.
        """
        self.volume = folder / "volume"
        root = folder / "root"
        for each in (self.volume, root):
            each.mkdir(exist_ok=True)
        for name, text in (files or {}).items():
            (self.volume / name).parent.mkdir(parents=True, exist_ok=True)
            (self.volume / name).write_text(text)
        os.chown(self.volume, user, user)
        for name in ("proc", "dev", "state"):
            (image.tree / name).mkdir(exist_ok=True)
        path = image.environment["PATH"]
        script = ["sh", "-c", _START, "sh", image.tree, root, self.volume, user, path]
        names = ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
        super().__init__(
            "container",
            ["unshare", *names, *script, *command],
            folder,
            env=image.environment | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )

    def ask_to_end(self) -> None:
        """Send SIGTERM to the program, as an engine does."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
