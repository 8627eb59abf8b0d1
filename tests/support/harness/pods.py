"""Runs the pods of Deployments as processes on loopback: stands for kubelet, DNS and controllers.

What is real: the objects, read from the API server; command, arguments, environment, the files of
ConfigMaps and Secrets, the account's token; the programs. What is not:

- A pod's network is an address of its own in 127.0.0.0/8. `0.0.0.0` and `127.0.0.1` become it.
- A pod's file system is this machine's. Folders that are mounted below /etc and /var/lib lie in the
  pod's folder, and arguments and ConfigMaps name them there. /run and the host name are its own.
- Readiness probes decide when a Deployment is available, and nothing else. No other probe is asked.
- No limit of memory, no security context, no NetworkPolicy.
"""

import itertools
import json
import random
import re
import socket
import sys
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final
from urllib.parse import urlsplit

from harness.dns import NameServer
from harness.envoy import PROGRAM
from harness.kubelet_volumes import write_volume
from harness.kubernetes import ApiServer, KubectlFailed
from harness.process import Process, clean_environment, until

ACCOUNT: Final = "run/secrets/kubernetes.io/serviceaccount"
PROGRAMS: Final[Mapping[str, Sequence[str | Path]]] = {
    "scopeway": (sys.executable, "-m", "scopeway.control_plane"),
    "envoy": (PROGRAM,),
}
OK: Final = 200
PROBE_SECONDS: Final = 0.2
LONGEST_LINE: Final = 300
"""Characters of a line in a failed test: Envoy's are long."""
OWN_RUN: Final = """
set -e
real=$(readlink -f /etc/resolv.conf)
case $real in
/run/*) mkdir -p "$0/$(dirname "${real#/run/}")"; cat "$real" >"$0/${real#/run/}" ;;
esac
mount --bind "$0" /run
echo "$1" >/proc/sys/kernel/hostname
shift
exec "$@"
"""

Document = dict[str, Any]


@dataclass(slots=True)
class Pod:
    """One pod: its address, and a process for each container."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    spec: Document
    address: str
    folder: Path
    volumes: dict[str, Path] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)

    def inside(self, path: str) -> str:
        """Return where a path of the pod is on this machine; those below /run are as they are."""
        return path if path.startswith("/run/") else str(self.folder) + path

    def translate(self, text: str) -> str:
        """Return a text of the pod, with its folders and addresses as they are here."""
        mounted = {
            mount["mountPath"]
            for container in containers(self.spec)
            for mount in container.get("volumeMounts", ())
        }
        for path in sorted(mounted, key=len, reverse=True):
            text = re.sub(rf"(?<![\w/]){re.escape(path)}(?=$|[/\s\"',}}])", self.inside(path), text)
        return re.sub(r"\b(0\.0\.0\.0|127\.0\.0\.1)\b", self.address, text)


class Pods:
    """The pods of an API server's Deployments; closes what it has started."""

    def __init__(self, api: ApiServer, folder: Path) -> None:
        """Start nothing yet.

        Args:
            api: Where the Deployments are.
            folder: Gets the pods' folders. Its name must be short: sockets lie below it.
        """
        self.api = api
        self.pods: list[Pod] = []
        self._folder = folder
        self._names = NameServer(folder)
        self._closed = Event()
        self._closing = ExitStack()
        self._closing.callback(self._names.close)
        network = f"127.{random.randint(16, 250)}.{random.randint(0, 250)}"
        self._addresses = (f"{network}.{number}" for number in itertools.count(1))

    def __enter__(self) -> "Pods":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._closing.close()

    def run(self, namespace: str, deployment: str) -> list[Pod]:
        """Start the pods of a Deployment as a rollout does, once their volumes are there."""
        found: Document = self.api.get("-n", namespace, "deployment", deployment)
        template, replicas = found["spec"]["template"], found["spec"]["replicas"]
        made = [
            self._make(namespace, f"{deployment}-{number}", template) for number in range(replicas)
        ]
        # the address of a pod is known before its program runs
        self.pods += made
        for pod in made:
            self._start_containers(pod)
        self._tell_dns()
        probes = Thread(target=self._await_ready, args=(found, made))
        probes.start()
        self._closing.callback(probes.join)
        return made

    def replace(self, old: Pod) -> Pod:
        """Replace a pod as a rolling update does: the new one is ready before the old one ends.

        As after `minReadySeconds`, everybody has asked for its address before.
        """
        template = {"metadata": {"labels": old.labels}, "spec": old.spec}
        new = self._make(old.namespace, f"{old.name}-next", template)
        self._start_containers(new)
        until(lambda: _is_ready(new), f"{new.name} is ready", log=self.logs)
        self.pods.append(new)
        self._tell_dns()
        names = [name for name, found in self._names.addresses.items() if new.address in found]
        asked = len(self._names.asked)
        until(lambda: set(names) <= set(self._names.asked[asked:]), f"somebody asks for {names}")
        self.pods.remove(old)
        self._tell_dns()
        for process in old.processes.values():
            process.terminate()
            status = process.end(seconds=old.spec["terminationGracePeriodSeconds"])
            assert status == 0, process.tail()
        return new

    def at(self, namespace: str, service: str) -> list[Pod]:
        """Return the pods that a Service selects."""
        selector = self.api.get("-n", namespace, "service", service)["spec"]["selector"]
        return [
            pod
            for pod in self.pods
            if pod.namespace == namespace and selector.items() <= pod.labels.items()
        ]

    def bring_volumes(self, pod: Pod) -> None:
        """Write the pod's ConfigMaps and Secrets, or bring the present ones."""
        for volume in pod.spec.get("volumes", ()):
            folder = pod.volumes.setdefault(volume["name"], _place(pod, volume["name"]))
            if "secret" in volume:
                secret = self._wait_for(pod, "secret", volume["secret"]["secretName"])
                write_volume(folder, decoded(secret))
            elif "configMap" in volume:
                config_map = self._wait_for(pod, "configmap", volume["configMap"]["name"])
                texts = {name: pod.translate(text) for name, text in config_map["data"].items()}
                write_volume(folder, {name: text.encode() for name, text in texts.items()})
            else:
                folder.mkdir(parents=True, exist_ok=True)
        if pod.spec.get("automountServiceAccountToken"):
            token = self.api.token(pod.spec["serviceAccountName"], namespace=pod.namespace)
            authority = (self.api.folder / "ca.crt").read_bytes()
            files = {"token": token.encode(), "ca.crt": authority}
            write_volume(pod.folder / ACCOUNT, {**files, "namespace": pod.namespace.encode()})

    def logs(self) -> str:
        """Return the ends of all logs, for a failed test."""
        ends = (each.tail() for pod in self.pods for each in pod.processes.values())
        return "\n".join(line[:LONGEST_LINE] for end in ends for line in end.splitlines())

    def _make(self, namespace: str, name: str, template: Document) -> Pod:
        pod = Pod(
            name=name,
            namespace=namespace,
            labels=template["metadata"]["labels"],
            spec=template["spec"],
            address=next(self._addresses),
            folder=self._folder / namespace / name,
        )
        (pod.folder / "run").mkdir(parents=True)
        self._closing.callback(self._end, pod)
        self.bring_volumes(pod)
        return pod

    def _start_containers(self, pod: Pod) -> None:
        for container in containers(pod.spec):
            self._start(pod, container)

    def _start(self, pod: Pod, container: Document) -> None:
        environment = self._environment(pod, container)

        def expanded(text: str) -> str:
            return re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], text)

        (program,) = container["command"]
        arguments = [pod.translate(expanded(each)) for each in container.get("args", ())]
        if program == "envoy":  # a busy machine has few cores
            arguments[arguments.index("--concurrency") + 1] = "1"
        inside = ["unshare", "--uts", "sh", "-c", OWN_RUN, str(pod.folder / "run"), pod.name]
        process = Process(
            f"{pod.namespace}-{pod.name}-{container['name']}",
            [*self._names.command(), *inside, *PROGRAMS[program], *arguments],
            self._folder,
            env=clean_environment(**environment, **self._cluster(pod)),
        )
        process.launch()
        pod.processes[container["name"]] = process

    def _environment(self, pod: Pod, container: Document) -> dict[str, str]:
        environment: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            config_map = self._wait_for(pod, "configmap", source["configMapRef"]["name"])
            environment.update(config_map["data"])
        for each in container.get("env", ()):
            if "value" in each:
                environment[each["name"]] = each["value"]
            else:
                assert each["valueFrom"] == {
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}
                }
                environment[each["name"]] = pod.name
        return environment

    def _cluster(self, pod: Pod) -> dict[str, str]:
        """Return what kubelet tells each container of the API server."""
        address = urlsplit(self.api.url)
        host, port = str(address.hostname), str(address.port)
        return {
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
        }

    def _wait_for(self, pod: Pod, kind: str, name: str) -> Document:
        """Return an object once it is there: kubelet, too, waits with the start of a pod."""
        found: list[Document] = []

        def look() -> bool:
            try:
                found.append(self.api.get("-n", pod.namespace, kind, name))
            except KubectlFailed:
                return False
            return True

        until(look, f"{kind} {name} in {pod.namespace}")
        return found[0]

    def _tell_dns(self) -> None:
        """Let the name of each Service lead to its pods, as a headless one's does."""
        for service in self.api.get("services", "-A")["items"]:
            metadata = service["metadata"]
            selector = service["spec"].get("selector")
            if selector:
                name = f"{metadata['name']}.{metadata['namespace']}.svc"
                selected = self.at(metadata["namespace"], metadata["name"])
                self._names.addresses[name] = [pod.address for pod in selected]

    def _await_ready(self, deployment: Document, made: Sequence[Pod]) -> None:
        """Ask as kubelet does; then write the status that controllers would write."""
        while not all(map(_is_ready, made)):
            if self._closed.wait(PROBE_SECONDS):
                return
        count = deployment["spec"]["replicas"]
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        status = dict.fromkeys(counts, count)
        status["observedGeneration"] = deployment["metadata"]["generation"]
        identity = {name: deployment["metadata"][name] for name in ("name", "namespace")}
        self.api.kubectl(
            *("patch", "deployment", identity["name"], "-n", identity["namespace"]),
            *("--subresource=status", "--type=merge", "-p", json.dumps({"status": status})),
            check=False,  # it may have gone
        )

    def _end(self, pod: Pod) -> None:
        for process in pod.processes.values():
            process.kill()


def containers(spec: Document) -> Iterator[Document]:
    """Return the containers of a pod, the sidecars first."""
    yield from spec.get("initContainers", ())
    yield from spec["containers"]


def _is_ready(pod: Pod) -> bool:
    """Return whether each readiness probe of a pod succeeds."""
    return all(_answers(pod, each) for each in containers(pod.spec) if "readinessProbe" in each)


def _answers(pod: Pod, container: Document) -> bool:
    probe = container["readinessProbe"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    try:
        if "httpGet" in probe:
            connection = HTTPConnection(pod.address, ports[probe["httpGet"]["port"]], timeout=2)
            with closing(connection):
                connection.request("GET", probe["httpGet"]["path"])
                return connection.getresponse().status == OK
        address = pod.address, ports[probe["tcpSocket"]["port"]]
        socket.create_connection(address, timeout=2).close()
    except OSError:
        return False
    return True


def decoded(secret: Document) -> dict[str, bytes]:
    """Return the files of a Secret."""
    return {name: b64decode(text) for name, text in secret["data"].items()}


def _place(pod: Pod, volume: str) -> Path:
    """Return the folder of a volume, which is where the pod's containers mount it."""
    (path,) = {
        str(mount["mountPath"])
        for container in containers(pod.spec)
        for mount in container.get("volumeMounts", ())
        if mount["name"] == volume
    }
    return pod.folder / path.lstrip("/")
