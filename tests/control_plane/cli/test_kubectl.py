"""`kubectl scopeway`: its commands and words, and how it reaches control planes in pods.

A script stands for kubectl here, since pods need a kubelet. tests/kubernetes has the real one.
"""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import pytest

from command_fixtures import Outcome
from scopeway.control_plane.admin.pages import status_page
from scopeway.control_plane.admin.server import PageServer
from scopeway.control_plane.cli.kubectl import _over_cluster, complete, main, plugin

REPOSITORY = Path(__file__).parents[3]
STATUS: Mapping[str, Any] = {
    "scopeway": "0.1.0",
    "registry": "kubernetes:",
    "clouds": 40,
    "stale": None,
    "lag_seconds": 0.0,
    "held": {},
    "cordoned": {},
    "refused": [],
    "streams": [],
}
KUBECTL = """\
#!{python}
import json, sys, time
from pathlib import Path
pods = json.loads(Path({pods!r}).read_text())
with Path({log!r}).open("a") as log:
    print(*sys.argv[1:], file=log)
if "get" in sys.argv:
    if pods is None:
        sys.exit('Error from server (Forbidden): pods is forbidden')
    print(*(f"pod/{{name}}" for name in pods), sep="\\n")
    sys.exit()
pod = next(each for each in sys.argv if each.startswith("pod/")).removeprefix("pod/")
if pods[pod] is None:
    sys.exit(f"error: unable to forward port because pod {{pod}} is not running")
print("Forwarding from 127.0.0.1:%d -> 18002" % pods[pod], flush=True)
for number in range(10_000):
    print("Handling connection for %d" % pods[pod], flush=True)
time.sleep(600)
"""


@pytest.fixture
def kubectl_scopeway(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `kubectl scopeway` with these arguments."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(each) for each in arguments])
        code = end.value.code
        return Outcome(code if isinstance(code, int) else 0, *capfd.readouterr())

    return run


class Pods:
    """Control planes that the script forwards ports to."""

    def __init__(self, folder: Path, closing: ExitStack) -> None:
        self.file, self.log = folder / "pods.json", folder / "kubectl.log"
        self._closing = closing
        self.held: dict[str, list[str]] = {}

    def run(self, *names: str, **more: int | None) -> None:
        self.file.write_text(json.dumps({each: self._serve(each) for each in names} | more))

    def _serve(self, name: str) -> int:
        def release(command: Mapping[str, Any]) -> Mapping[str, Any]:
            held = self.held.get(name, [])
            return {"released": [each for each in held if each in command.get("clouds", held)]}

        page = status_page(lambda: {**STATUS, "registry": f"kubernetes: of {name}"})
        server = PageServer(("127.0.0.1", 0), page, commands={"/release": release}, option="")
        return self._closing.enter_context(server).port

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pods]:
    with ExitStack() as closing:
        pods = Pods(tmp_path, closing)
        script = tmp_path / "bin" / "kubectl"
        script.parent.mkdir()
        script.write_text(
            KUBECTL.format(python=sys.executable, pods=str(pods.file), log=str(pods.log))
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(script.parent))
        yield pods


def commands(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*above, name)
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)


@pytest.mark.parametrize("command", [(), *commands(plugin())], ids=" ".join)
def test_help_names_the_commands_as_people_type_them(
    kubectl_scopeway: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outcome = kubectl_scopeway(*command, "--help")
    lines = outcome.out.splitlines()

    assert (outcome.status, outcome.err) == (0, "")
    assert lines[0].startswith(" ".join(["Usage: kubectl scopeway", *command]))
    assert not [line for line in lines if line.strip().startswith("scopeway ")]
    assert "--registry" not in outcome.out
    assert "--ttl" not in outcome.out


def test_the_commands_are_those_of_scopeway_but_for_the_processes() -> None:
    from scopeway.control_plane.cli import cli

    assert set(commands(cli)) - set(commands(plugin())) == {("serve",), ("collect",)}
    assert set(commands(plugin())) <= set(commands(cli))
    assert "registry" in {each.name for each in cli.commands["explain"].params}


def documented() -> list[str]:
    pages = (REPOSITORY / "docs" / name for name in ("operating.md", "kubernetes.md"))
    lines = (line for page in pages for line in page.read_text().splitlines())
    return [line.strip() for line in lines if line.startswith("    kubectl scopeway ")]


@pytest.mark.parametrize("line", documented())
def test_commands_of_the_documentation_have_the_options_that_they_use(line: str) -> None:
    command: click.Command = plugin()
    words = shlex.split(line)[2:]
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    with click.Context(command) as context:
        command.make_parser(context).parse_args(words)

    assert str(command.name) in line.split()


def test_hints_of_errors_name_the_commands_as_people_type_them(
    kubectl_scopeway: Callable[..., Outcome], write: Callable[..., Path]
) -> None:
    cordon = {"apiVersion": "scopeway.io/v1alpha1", "kind": "Cordon", "metadata": {"name": "c"}}
    put = kubectl_scopeway("cloud", "put", write("c.yaml", cordon))

    assert put.status == 1
    assert put.err.startswith("kubectl scopeway: nothing was written\n")
    assert put.err.endswith("is a cordon; use `kubectl scopeway cloud cordon`\n")


@pytest.mark.parametrize(
    ("words", "shown", "directive"),
    [
        (["cl"], ["cloud"], ":4"),
        (["cloud", "un"], ["uncordon"], ":4"),
        (["explain", "--format", ""], ["table", "json"], ":4"),
        (["cloud", "put", "--fo"], ["--force"], ":4"),
        (["cloud", "put", ""], [], ":0"),
        (["potato", "x"], [], ":0"),
        ([], ["bootstrap", "ca", "cloud", "explain", "service-type", "status"], ":4"),
    ],
    ids=" ".join,
)
def test_words_are_completed(
    capsys: pytest.CaptureFixture[str], words: list[str], shown: list[str], directive: str
) -> None:
    complete(words)
    *lines, last = capsys.readouterr().out.splitlines()

    assert [line.partition("\t")[0] for line in lines] == shown
    assert last == directive


def test_status_asks_each_pod_of_the_control_plane(
    kubectl_scopeway: Callable[..., Outcome], pods: Pods
) -> None:
    pods.run("scopeway-a", "scopeway-b")
    outcome = kubectl_scopeway("status", "--context", "north", "-n", "fleet", "--format", "json")
    get, *forwards = pods.calls
    asked = sorted(each.split()[3] for each in forwards)  # all at once

    assert (outcome.status, outcome.err) == (0, "")
    assert {name: each["registry"] for name, each in json.loads(outcome.out).items()} == {
        "scopeway-a": "kubernetes: of scopeway-a",
        "scopeway-b": "kubernetes: of scopeway-b",
    }
    assert get.startswith("--context=north --namespace=fleet get pods --selector app.kubernetes.io")
    assert asked == ["pod/scopeway-a", "pod/scopeway-b"]
    assert {each.partition(" pod/scopeway-")[2][2:] for each in forwards} == {
        ":18002 --address=127.0.0.1 --pod-running-timeout=10s"
    }
    assert "scopeway-a  scopeway 0.1.0, 40 clouds from" in kubectl_scopeway("status").out


def test_release_tells_each_pod_of_the_control_plane(
    kubectl_scopeway: Callable[..., Outcome], pods: Pods
) -> None:
    pods.run("scopeway-a", "scopeway-b")
    pods.held = {"scopeway-a": ["cloud-8"], "scopeway-b": ["cloud-8", "cloud-9"]}
    every = kubectl_scopeway("cloud", "release", "--all")
    some = kubectl_scopeway("cloud", "release", "cloud-9", "cloud-7")
    neither = kubectl_scopeway("cloud", "release")

    assert every.out.splitlines() == [
        "cloud-8 released by scopeway-a",
        "cloud-8 released by scopeway-b",
        "cloud-9 released by scopeway-b",
    ]
    assert some.out == "cloud-9 released by scopeway-b\n"
    assert (some.status, some.err) == (1, "kubectl scopeway: not held: cloud-7\n")
    assert neither.status == 2


@pytest.mark.parametrize(
    ("names", "more", "sentence"),
    [
        ([], {}, "no pod with the labels app.kubernetes.io/name=scopeway,"),
        (
            ["scopeway-a"],
            {"scopeway-b": None},
            "kubectl port-forward pod/scopeway-b: error: unable to forward port because pod "
            "scopeway-b is not running\n",
        ),
        ([], {f"pod-{n}": 1 for n in range(33)}, "33 pods have the labels "),
    ],
    ids=["none", "ended", "many"],
)
def test_pods_that_cannot_be_asked_are_an_error_of_one_sentence(
    kubectl_scopeway: Callable[..., Outcome],
    pods: Pods,
    names: Sequence[str],
    more: dict[str, int | None],
    sentence: str,
) -> None:
    pods.run(*names, **more)
    outcome = kubectl_scopeway("status")

    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(f"kubectl scopeway: {sentence}")
    assert len(outcome.err.splitlines()) == 1


def test_words_of_kubectl_and_a_missing_kubectl_are_told(
    kubectl_scopeway: Callable[..., Outcome], pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods.file.write_text("null")
    refused = kubectl_scopeway("status")
    monkeypatch.setenv("PATH", "/nowhere")
    missing = kubectl_scopeway("status")

    assert refused.err == (
        "kubectl scopeway: kubectl get pods: Error from server (Forbidden): pods is forbidden\n"
    )
    assert missing.err == "kubectl scopeway: kubectl is not in $PATH\n"


def test_the_kubeconfigs_of_kubectl_go_before_the_account_of_a_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registries: list[str] = []
    call = _over_cluster(click.Command("x", callback=lambda registry: registries.append(registry)))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    call(None, "")
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube/config").touch()
    call(None, "")
    monkeypatch.setenv("KUBECONFIG", "a:b")
    call(None, "")

    assert registries == ["kubernetes:", f"kubernetes:{tmp_path}/.kube/config", "kubernetes:"]
