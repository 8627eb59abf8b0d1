"""A MariaDB of the demo's own: its folder, one port on loopback, a database user for each cloud.

It must not know what is in the databases.
"""

import os
import pwd
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo.errors import DemoError
from demo.full.system_packages import Programs
from harness.ports import ADDRESS
from harness.process import Process, clean_environment
from harness.supervisor import READY_SECONDS, Supervisor

ROOT = "scopeway"
"""The user who may do everything."""
SQL_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class MariaDb:
    """One running or still to be started server."""

    programs: Programs
    folder: Path
    """For its data and nothing else."""
    port: int
    password: str = field(repr=False)
    """Of `ROOT` and of each cloud's user; another one at each start."""

    def url(self, user: str, database: str) -> str:
        """For SQLAlchemy."""
        where = f"{user}:{self.password}@{ADDRESS}:{self.port}/{database}"
        return f"mysql+pymysql://{where}?charset=utf8mb3"


def create(supervisor: Supervisor, server: MariaDb) -> None:
    """Makes an empty data folder.

    Raises:
        ProcessFailed: it cannot be made.
    """
    command: list[str | Path] = [
        *(server.programs.mariadb_install_db, "--no-defaults", f"--datadir={server.folder}"),
        *(f"--user={_system_user()}", "--auth-root-authentication-method=normal"),
        *("--skip-test-db", "--skip-name-resolve"),
    ]
    supervisor.finish(supervisor.start("mariadb-install-db", command))


def start(
    supervisor: Supervisor, server: MariaDb, users: Mapping[str, Iterable[str]], init_file: Path
) -> Process:
    """Starts the server on its data folder; it answers.

    Args:
        users: Name to the databases that this user may use; they need not exist.
        init_file: Where the SQL may be written that makes the users.
    """
    init_file.touch(mode=0o600)
    init_file.write_text(_accounts(server, users))
    process = supervisor.start(
        "mariadb",
        [
            *(server.programs.mariadbd, "--no-defaults", f"--user={_system_user()}"),
            *(f"--datadir={server.folder}", "--socket=mariadb.sock", "--pid-file=mariadb.pid"),
            *(f"--bind-address={ADDRESS}", f"--port={server.port}", f"--init-file={init_file}"),
            *("--skip-name-resolve", "--character-set-server=utf8mb3", "--max-connections=600"),
            # data of a demo: nothing is lost that anybody would miss
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF"),
            *("--innodb-buffer-pool-size=128M", "--innodb-log-file-size=64M"),
            "--performance-schema=OFF",
        ],
    )
    process.wait_for_ports(server.port, seconds=READY_SECONDS)
    return process


def sql(server: MariaDb, text: str) -> str:
    """Runs SQL as `ROOT` and returns the rows, tabs between columns, without their names.

    Raises:
        DemoError: the server refused it.
    """
    return _run([server.programs.mariadb, *_login(server), "--batch", "-N"], server, text)


def dump(server: MariaDb, database: str) -> str:
    """The SQL that makes the tables and rows of a database again, in any database."""
    options = ("--skip-comments", "--skip-lock-tables", "--single-transaction")
    return _run([server.programs.mariadb_dump, *_login(server), *options, database], server, "")


def _run(command: list[str | Path], server: MariaDb, text: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        input=text,
        capture_output=True,
        text=True,
        timeout=SQL_SECONDS,
        env=clean_environment(MYSQL_PWD=server.password),
        check=False,
    )
    if done.returncode != 0:
        raise DemoError(f"MariaDB: {done.stderr.strip()}")
    return done.stdout


def _login(server: MariaDb) -> tuple[str, ...]:
    return (
        *("--no-defaults", f"--host={ADDRESS}", f"--port={server.port}", f"--user={ROOT}"),
        "--default-character-set=utf8mb3",
    )


def _accounts(server: MariaDb, users: Mapping[str, Iterable[str]]) -> str:
    """SQL, a statement a line as an init file wants it. No user without a password can log in."""
    lines = [
        "DELETE FROM mysql.global_priv WHERE User NOT IN ('mariadb.sys');",
        "FLUSH PRIVILEGES;",
        *(_account(user, server.password) for user in (ROOT, *users)),
        f"GRANT ALL ON *.* TO '{ROOT}'@'{ADDRESS}' WITH GRANT OPTION;",
        *(
            f"GRANT ALL ON `{database}`.* TO '{user}'@'{ADDRESS}';"
            for user, databases in users.items()
            for database in databases
        ),
    ]
    return "\n".join(lines) + "\n"


def _account(user: str, password: str) -> str:
    return f"CREATE USER '{user}'@'{ADDRESS}' IDENTIFIED BY '{password}';"


def _system_user() -> str:
    # MariaDB refuses to run as root unless it is told to
    return pwd.getpwuid(os.geteuid()).pw_name
