"""MariaDB and RabbitMQ as the system has them: where their programs are, and how they get there.

Only the programs are used. Their data, ports and accounts are the demo's own, and no service of the
system is started or asked.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from demo.errors import DemoError, PartMissing
from harness.process import clean_environment

PACKAGES = ("mariadb-server", "rabbitmq-server")
"""Of Debian and its relatives."""
PLACES = ("/usr/lib/rabbitmq/bin", "/usr/sbin", "/usr/local/sbin")
"""Folders that are looked into besides the PATH.

The first one before it: the `rabbitmq-server` on Debian's PATH becomes another user.
"""
INSTALL_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Everything that is started of the system's."""

    mariadbd: Path
    mariadb_install_db: Path
    mariadb: Path
    mariadb_dump: Path
    rabbitmq_server: Path
    epmd: Path


NAMES: Mapping[str, str] = {
    "mariadbd": "mariadbd",
    "mariadb_install_db": "mariadb-install-db",
    "mariadb": "mariadb",
    "mariadb_dump": "mariadb-dump",
    "rabbitmq_server": "rabbitmq-server",
    "epmd": "epmd",
}


def find_programs(find: Callable[[str], str | None] | None = None) -> Programs:
    """Where the programs are.

    Args:
        find: From a name to a path; None looks in `PLACES` and on the PATH.

    Raises:
        PartMissing: one of them is nowhere; says how to install it.
    """
    look = _find if find is None else find
    found: dict[str, Path] = {}
    for field, name in NAMES.items():
        if (path := look(name)) is None:
            raise PartMissing(program=name, looked_in=[*PLACES, "PATH"], cure=_cure())
        found[field] = Path(path)
    return Programs(**found)


def can_install() -> bool:
    """Whether `install` may do it without asking anybody: root, on Debian or a relative."""
    return os.geteuid() == 0 and Path("/etc/debian_version").exists()


def install(log: Path) -> None:
    """Installs the packages.

    Raises:
        DemoError: apt-get failed.
    """
    env = clean_environment(DEBIAN_FRONTEND="noninteractive")
    env |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    install = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *PACKAGES)
    with log.open("ab") as out:
        for command in (("apt-get", "update", "--quiet"), install):
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                timeout=INSTALL_SECONDS,
                check=False,
            )
    # what `update` says is no verdict: a list that cannot be had is often not needed
    if done.returncode != 0:
        raise DemoError(f"`{' '.join(install)}` failed, see {log}")


def _cure() -> str:
    return f"install them with `sudo apt-get install {' '.join(PACKAGES)}`"


def _find(name: str) -> str | None:
    path = os.pathsep.join([*PLACES, os.environ.get("PATH", os.defpath)])
    return shutil.which(name, path=path)
