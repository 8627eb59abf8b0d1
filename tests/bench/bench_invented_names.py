"""What invented cloud names cost: python tests/bench/bench_invented_names.py.

Growth of the resident sets, with real etcd, `scopeway serve` and one Envoy of one worker: after so
many requests to clouds that nobody has registered; then of the control plane, when a client
subscribes to a million names in one request, as one with a stolen key could. At last of an Envoy
that is asked for fan-outs over a label of 4,000 clouds.
"""

import time
from collections import Counter

import grpc
import report
from fixtures import stack

from harness.fleet import manifest
from harness.http import Connection, send
from harness.stack import ServeProcess, Stack
from harness.stub_collector import StubCollector
from scopeway.xds.encoding.protobuf import field_bytes, field_string
from scopeway.xds.type_urls import CLUSTER

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
REQUESTS = (500, 2_000, 20_000)
MEMBERS, FANOUTS = 4_000, 100
NAMES = 1_000_000
SECONDS = 8
MIB = 1 << 20
EDGE = {"tier": "edge"}


def through_envoy(stack: Stack, serve: ServeProcess, port: int) -> None:
    envoy = stack.envoys["cloud-1"]
    memory = {"Envoy": envoy.memory, "control plane": serve.memory}
    before = {who: measure() for who, measure in memory.items()}
    sent = 0
    with Connection(port) as connection:
        for total in REQUESTS:
            answers: Counter[int] = Counter()
            while sent < total:
                scope = f"{{glance:invented-{sent}}}"
                answers[connection.send("/image/v2/images", [("X-Scope", scope)]).status] += 1
                sent += 1
                if answers[429]:
                    continue
                time.sleep(0.012)  # no faster than the front lets new names pass
            for who, measure in memory.items():
                report.value(
                    f"{who} after {total} invented clouds, last answers {dict(answers)}",
                    (measure() - before[who]) / MIB,
                    "MiB",
                    n=total,
                )


def directly(serve: ServeProcess) -> None:
    before = serve.memory()
    key = field_string(1, "scopeway.protocol") + field_bytes(2, field_string(3, "1"))
    node = field_string(1, "cloud-1/hostile") + field_string(2, "cloud-1")
    names = [field_string(3, f"image@hostile-{number}") for number in range(NAMES)]
    request = b"".join(
        [
            field_bytes(1, node + field_bytes(3, field_bytes(1, key))),
            field_string(2, CLUSTER),
            *names,
        ]
    )
    with grpc.insecure_channel(f"127.0.0.1:{serve.xds_port}") as channel:
        call = channel.stream_stream(METHOD)(iter([request]), timeout=SECONDS)
        try:
            for _ in call:
                pass
        except grpc.RpcError:
            pass
        growth = (serve.peak_memory() - before) / MIB
        report.value(f"control plane, {NAMES} names in one request, at most", growth, "MiB")
    skipped = serve.metrics().get("xds_names_skipped_total{Cluster}", 0)
    report.value("of these skipped", skipped, "names")


def fanouts(stack: Stack) -> None:
    service = {"image": stack.service("glance")}
    names = [f"edge-{number:06}" for number in range(MEMBERS)]
    accept = [{"clouds": ["cloud-2"]}]
    stack.put(*(manifest(each, EDGE, services=service, accept=accept) for each in names))
    folder = stack.folder / "collector"
    folder.mkdir()
    cloud = stack.site("cloud-2", services=service, collector=folder)
    assert cloud.front is not None
    envoy, port = stack.envoys["cloud-2"], cloud.front.port

    def ask(members: list[str]) -> None:
        for each in members:
            scope = f"{{glance: &[tier=edge] & {each}}}"
            response = send(port, "/image/v2", [("X-Scope", scope)])
            assert response.status == 200, response.body

    with StubCollector(folder) as collector:
        collector.asks = False
        ask(names[:10])
        before = envoy.memory()
        ask(names[10 : 10 + FANOUTS])  # each is a name of its own
        grown = (envoy.memory() - before) / FANOUTS / 1000
    report.value(f"Envoy, a fan-out by labels of {MEMBERS} clouds", grown, "kB", n=FANOUTS)


if __name__ == "__main__":
    with stack() as started:
        serving = started.serve()
        cloud = started.site("cloud-1", services={"image": started.service("glance")})
        assert cloud.front is not None
        through_envoy(started, serving, cloud.front.port)
        directly(serving)
        fanouts(started)
