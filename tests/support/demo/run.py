"""`make demo`, `make up` and `make down`.

Owns the folders, the signals and the promise that nothing is left behind: neither a process nor
a file, except what `up` leaves on purpose and the logs of a demo that failed.
"""

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from demo import state
from demo.console import Screen
from demo.environment import Stage, set_up
from demo.errors import FAILURES, DemoError
from demo.openstack import find_openstack
from demo.sites import ControlPlane, find_program
from demo.steps import tell
from harness.process import ProcessFailed, tail
from harness.supervisor import ENDING_SIGNALS, Supervisor

SCOPE = "{keystone:cloud-1;glance:cloud-3}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What differs between the demo and the one with whole clouds."""

    folder: Path
    """Of `up`, in the working folder."""
    set_up: Callable[[Path, Path, Supervisor, Screen], Stage]
    tell: Callable[[Stage, Screen], None]
    next_commands: Sequence[str]
    """What can be typed when it is up."""
    end: str
    """The command that ends what `up` left running."""


SMALL = Demo(
    folder=Path(".scopeway/demo"),
    set_up=set_up,
    tell=tell,
    next_commands=(
        f'openstack image list --scope "{SCOPE}"',
        'openstack image list --scope "{glance:cloud-2 | cloud-3}"',
        'openstack image list --scope "{glance: cloud-1 & cloud-2 & cloud-3}"',
        f'scopeway explain --from cloud-1 --scope "{SCOPE}" image',
        "scopeway cloud list",
        "scopeway status --watch",
    ),
    end="make down",
)


def run_demo(
    demo: Demo = SMALL,
    *,
    keep: bool = False,
    openstack_python: str | Path | None = None,
    plain: bool = False,
) -> None:
    """Brings up three clouds, tells the story in steps and takes everything down again.

    Args:
        keep: Whether the folder with configurations, databases and logs stays.
        openstack_python: Environment, or its Python, with Keystone, Glance and the client; None
            looks for `.venv-openstack`.
        plain: No colours and no moving text.

    Raises:
        DemoError: a part is missing, or an answer wasn't the expected one.
        ProcessFailed: a part failed.
    """
    screen = Screen(plain=plain)
    openstack = _find_parts(openstack_python)
    with _signals_raise(), _temporary_folder(screen, keep=keep) as root:
        with Supervisor(logs=_logs(root)) as supervisor, _cleaning_up_calmly(screen):
            screen.title("Three OpenStack clouds on this machine")
            stage = demo.set_up(root, openstack, supervisor, screen)
            demo.tell(stage, screen)
        screen.title("Everything stopped.")


def up(
    demo: Demo = SMALL,
    *,
    openstack_python: str | Path | None = None,
    plain: bool = False,
    folder: Path | None = None,
) -> None:
    """Brings up the three clouds of the demo, leaves them running and says what to type next.

    Args:
        folder: None takes the demo's own.

    Raises:
        DemoError: they run already, or a part is missing.
        ProcessFailed: a part failed; then nothing is left running.
    """
    screen = Screen(plain=plain)
    root = (folder or demo.folder).absolute()
    if state.running(root):
        raise DemoError(f"running already in {root}: `{demo.end}` ends it")
    openstack = _find_parts(openstack_python)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    supervisor = Supervisor(
        logs=_logs(root),
        tied=False,
        started=lambda name, pid: state.record(root, name, pid),
    )
    with _signals_raise(), supervisor, _cleaning_up_calmly(screen):
        screen.title("Three OpenStack clouds on this machine")
        try:
            stage = demo.set_up(root, openstack, supervisor, screen)
        except FAILURES as error:
            _show_log(screen, error)
            raise
        write_environment(root, stage.plane, stage.clouds_yaml, openstack)
        supervisor.release()
    _say_what_next(demo, stage, screen)


def down(demo: Demo = SMALL, *, plain: bool = False, folder: Path | None = None) -> None:
    """Ends what `up` left running and removes its folder; nothing to do is no error."""
    screen = Screen(plain=plain)
    root = (folder or demo.folder).absolute()
    if not (root / state.JOURNAL).exists():
        screen.output(f"nothing runs in {root}")
        return
    with screen.task("everything stopped and removed"):
        state.stop(state.running(root))
        shutil.rmtree(root)


def _find_parts(openstack_python: str | Path | None) -> Path:
    for program in ("etcd", "envoy"):
        find_program(program)
    return find_openstack(openstack_python)


def _logs(root: Path) -> Path:
    logs = root / "logs"
    logs.mkdir()
    return logs


@contextmanager
def _temporary_folder(screen: Screen, *, keep: bool) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="scopeway-demo-"))
    try:
        yield root
    except FAILURES as error:
        _show_log(screen, error)
        _remove_all_but_logs(root)
        screen.problem(f"the logs are in {root / 'logs'}")
        raise
    except BaseException:
        shutil.rmtree(root)
        raise
    if keep:
        screen.output(f"kept: {root}")
    else:
        shutil.rmtree(root)


def _remove_all_but_logs(root: Path) -> None:
    for entry in root.iterdir():
        if entry.name == "logs":
            continue
        for log in [*entry.glob("*.log")] if entry.is_dir() else []:
            log.rename(root / "logs" / f"{entry.name}-{log.name}")
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end this program the way Ctrl-C does, through every `finally`."""

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _cleaning_up_calmly(screen: Screen) -> Iterator[None]:
    """Lets an impatient second Ctrl-C not interrupt the stopping of the processes."""
    interrupted = True
    try:
        yield
        interrupted = False
    except FAILURES:
        interrupted = False
        raise
    finally:
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if interrupted:
            with suppress(OSError):  # the terminal may be gone
                screen.title("interrupted: everything is being stopped, for up to a quarter minute")


def _show_log(screen: Screen, error: DemoError | ProcessFailed) -> None:
    if isinstance(error, ProcessFailed):
        screen.problem(f"{error.process.name} wrote at its end:")
        screen.output(tail(error.process.log_file))


def write_environment(root: Path, plane: ControlPlane, clouds_yaml: Path, openstack: Path) -> None:
    """Writes `env.sh` in `root`: with it the commands find this demo.

    Args:
        openstack: The virtual environment with the client.
    """
    programs = f"{Path(sys.executable).parent}:{openstack / 'bin'}"
    (root / "env.sh").write_text(
        f"""\
export OS_CLIENT_CONFIG_FILE='{clouds_yaml}'
export OS_CLOUD=cloud-1
export SCOPEWAY_REGISTRY='{plane.registry}' SCOPEWAY_ADMIN='{plane.admin}'
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
export PATH="$PATH":'{programs}'
"""
    )


def _say_what_next(demo: Demo, stage: Stage, screen: Screen) -> None:
    screen.title("It runs. What you can type next:")
    screen.command(f". {stage.root / 'env.sh'}")
    for command in demo.next_commands:
        screen.command(command)
    screen.gap()
    rows = [(site.name, site.front_url, str(site.access_log)) for site in stage.sites]
    screen.table(("cloud", "front", "access log"), rows)
    screen.say(f"the control plane: {stage.plane.admin}/status")
    screen.say(f"`{demo.end}` ends it.")
