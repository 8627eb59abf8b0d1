"""Reaches the admin address of each control plane in a Kubernetes cluster, by kubectl port-forward.

The admin address is on the loopback of its pod. kubectl logs in, and needs the right to forward
ports (`create` on `pods/portforward`).
"""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import IO, Final

from scopeway.control_plane.errors import ControlPlaneError
from scopeway.xds.text import shown

ADMIN_PORT: Final = 18002
MAX_PODS: Final = 32
"""Pods that are asked; a deployment has a few replicas."""
LINE: Final = 500
"""Characters of kubectl's words that are shown."""

_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")


@contextmanager
def forwarded(options: Sequence[str], selector: str) -> Iterator[Mapping[str, str]]:
    """Forward a port to each running pod of the control plane, until the block ends.

    Args:
        options: Of kubectl: namespace, kubeconfig and context.
        selector: Labels of the pods.

    Yields:
        The name of each pod, to the URL that leads to its admin address.

    Raises:
        ControlPlaneError: kubectl is missing or fails, or there is no such pod.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise ControlPlaneError("kubectl is not in $PATH")
    command = [kubectl, *options]
    with ExitStack() as stack:
        forwards = {
            pod: stack.enter_context(_forward([*command, "port-forward", f"pod/{pod}"]))
            for pod in _pods(command, selector)
        }
        yield {pod: _url(pod, told) for pod, told in forwards.items()}


def _pods(command: Sequence[str], selector: str) -> list[str]:
    running = "--field-selector=status.phase=Running"
    get = [*command, "get", "pods", "--selector", selector, running, "--output", "name"]
    done = subprocess.run(get, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ControlPlaneError(f"kubectl get pods: {_last(done.stderr)}")
    pods = [line.removeprefix("pod/") for line in done.stdout.split()]
    if not pods:
        raise ControlPlaneError(
            f"no pod with the labels {selector} runs there (--namespace, --selector)"
        )
    if len(pods) > MAX_PODS:
        raise ControlPlaneError(
            f"{len(pods)} pods have the labels {selector}, more than {MAX_PODS} (--selector)"
        )
    return pods


@contextmanager
def _forward(command: Sequence[str]) -> Iterator["SimpleQueue[int | str]"]:
    """Run kubectl port-forward; yield a queue of the local port, or of the last line instead."""
    whole = [*command, f":{ADMIN_PORT}", "--address=127.0.0.1", "--pod-running-timeout=10s"]
    process = subprocess.Popen(
        whole,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    told: SimpleQueue[int | str] = SimpleQueue()
    with process:
        assert process.stdout is not None
        reader = threading.Thread(target=_read, args=(process.stdout, told), daemon=True)
        reader.start()
        try:
            yield told
        finally:
            process.terminate()
            reader.join()


def _read(output: IO[str], told: "SimpleQueue[int | str]") -> None:
    """Read all that kubectl prints: a line for each connection, until the end."""
    line = ""
    for line in output:
        if match := _FORWARDING.search(line):
            told.put(int(match[1]))
    told.put(_last(line))


def _url(pod: str, told: "SimpleQueue[int | str]") -> str:
    port = told.get()
    if isinstance(port, str):
        raise ControlPlaneError(f"kubectl port-forward pod/{pod}: {port}")
    return f"http://127.0.0.1:{port}"


def _last(text: str) -> str:
    return shown((text.strip().splitlines() or ["it failed without a word"])[-1], LINE)
