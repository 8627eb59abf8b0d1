"""Control planes that write the status of real objects, and streams as Envoys open them."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc

import quick_status
from harness.fleet import at, manifest
from harness.kubernetes import ApiServer
from harness.kubernetes_stack import KubernetesStack
from harness.process import until
from harness.stack import ServeProcess
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.kubernetes_api.paths import GROUP_VERSION, config_maps, events, leases
from scopeway.control_plane.translator.node_setup import PROTOCOL
from scopeway.xds.encoding.protobuf import field_bytes, field_string
from scopeway.xds.type_urls import CLUSTER
from xds_client import METHOD
from xds_model import write_request

NAMESPACE = "scopeway-system"
OURS = f"/apis/{GROUP_VERSION}"
GRACE = 3
"""Seconds of --disconnected-after."""
Document = dict[str, Any]


class Replicas:
    """Control planes of one API server, whose periods are short."""

    def __init__(self, stack: KubernetesStack) -> None:
        self.stack = stack
        self.api: ApiServer = stack.api
        self._streams = ExitStack()
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})

    def start(self, name: str, *options: object, grace: int = GRACE) -> ServeProcess:
        serve = self.stack.serve(
            *("--status-namespace", NAMESPACE, "--replica", name),
            *("--disconnected-after", grace, "--drain-seconds", 1),
            *options,
            start=False,
        )
        serve.command[1:3] = [str(Path(quick_status.__file__))]
        return serve.start()

    def connect(self, cloud: str, serve: ServeProcess) -> Callable[[], None]:
        """Open a stream of a cloud's Envoy; return what closes it."""
        stream = Stream(cloud, serve.xds_port)
        self._streams.callback(stream.close)
        return stream.close

    def put(self, name: str, **spec: Any) -> None:
        self.stack.put(manifest(name, **spec))

    def put_if_possible(self, name: str, **spec: Any) -> bool:
        """Register a cloud; return whether the API server takes it."""
        return self._takes(to_document(manifest(name, **spec)))

    def put_bad(self, name: str) -> None:
        """Register a cloud that only an API server without our admission policy accepts."""
        bad = to_document(manifest(name, front=at(8080)))
        bad["spec"]["frond"] = {}
        binding = ("validatingadmissionpolicybinding", "edgeclouds.scopeway.io")
        self.api.kubectl("delete", *binding)
        try:
            until(lambda: self._takes(bad), "the policy has no effect any more")
        finally:
            self.api.apply_ours()

    def _takes(self, document: Document) -> bool:
        arguments = ("apply", "--server-side", "-f", "-")
        return not self.api.kubectl(*arguments, text=json.dumps(document), check=False).returncode

    def get(self, name: str, kind: str = "edgeclouds") -> Document:
        found = self._read(f"{OURS}/{kind}/{name}")
        assert found is not None, f"there is no {kind}/{name}"
        return found

    def condition(self, name: str, condition: str, kind: str = "edgeclouds") -> str:
        """Return "status reason" of a condition; "" if there is none."""
        found = self.get(name, kind).get("status", {}).get("conditions", [])
        return next(
            (f"{each['status']} {each['reason']}" for each in found if each["type"] == condition),
            "",
        )

    def wait(self, name: str, condition: str, expected: str, kind: str = "edgeclouds") -> None:
        until(
            lambda: self.condition(name, condition, kind) == expected,
            f"{condition} of {kind} {name} is {expected}, not "
            f"{self.condition(name, condition, kind)}",
            log=self.stack.logs,
        )

    def leader(self) -> str:
        """Return the identity of the leader; "" if there is none."""
        found = self._read(f"{leases(NAMESPACE)}/scopeway-status")
        return "" if found is None else found["spec"]["holderIdentity"]

    def objects(self, path: str = config_maps(NAMESPACE)) -> list[Document]:
        """Return what replicas have published."""
        return self._list(f"{path}?labelSelector=app.kubernetes.io/component=replica")

    def leases(self) -> list[Document]:
        """Return the Leases of replicas."""
        return self.objects(leases(NAMESPACE))

    def versions(self) -> dict[str, str]:
        """Return the resource versions of all of our objects."""
        return {
            f"{kind}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
            for kind in ("edgeclouds", "cordons", "servicetypes")
            for each in self._list(f"{OURS}/{kind}")
        }

    def writes(self) -> dict[str, float]:
        """Return how many writes of each resource the API server has served."""
        counts: dict[str, float] = {}
        for line in (self.api.read("/metrics") or b"").decode().splitlines():
            if line.startswith("apiserver_request_total{") and any(
                f'verb="{verb}"' in line for verb in ("POST", "PUT", "PATCH", "APPLY", "DELETE")
            ):
                resource = line.partition('resource="')[2].partition('"')[0]
                counts[resource] = counts.get(resource, 0) + float(line.rpartition(" ")[2])
        return counts

    def events(self, name: str) -> list[Document]:
        found = self._list(events("default"))
        return [each for each in found if each["regarding"]["name"] == name]

    def _list(self, path: str) -> list[Document]:
        found = self._read(path)
        assert found is not None, f"there is no {path}"
        items: list[Document] = found["items"]
        return items

    def _read(self, path: str) -> Document | None:
        found = self.api.read(path)
        return None if found is None else json.loads(found)

    def end(self) -> None:
        self._streams.close()
        for serve in self.stack.serves:
            serve.kill()
        self.stack.serves.clear()


class Stream:
    """A delta stream, as the Envoy of a cloud opens it."""

    def __init__(self, cloud: str, port: int) -> None:
        self._closed = threading.Event()
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]
        )
        protocol = field_string(1, "scopeway.protocol") + field_bytes(2, field_string(3, PROTOCOL))
        metadata = field_bytes(3, field_bytes(1, protocol))
        node = field_string(1, f"{cloud}/envoy") + field_string(2, cloud) + metadata
        request = write_request(CLUSTER, node=node, subscribe=["nothing@nowhere"])
        self._call = self._channel.stream_stream(METHOD)(self._requests(request))
        next(self._call)

    def close(self) -> None:
        self._closed.set()
        self._channel.close()

    def _requests(self, request: bytes) -> Iterator[bytes]:
        yield request
        self._closed.wait()
