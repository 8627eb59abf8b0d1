"""Three streams of a client in a process of its own, for a server that is busy: PORT."""

import sys
import threading

import grpc

from scopeway.xds.type_urls import CLUSTER
from xds_model import write_request

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
GUARD = 30


def main() -> None:
    """Print "connected", and later the status of each stream's first answer."""
    codes: list[str] = []
    with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}") as channel:
        grpc.channel_ready_future(channel).result(GUARD)
        print("connected", flush=True)

        def ask(number: int) -> None:
            request = write_request(CLUSTER, node=(f"site/{number}", "site"), subscribe=["a"])
            call = channel.stream_stream(METHOD)(iter([request]), timeout=GUARD)
            try:
                next(call)
                codes.append("OK")
            except grpc.RpcError as error:
                codes.append(error.code().name)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(*codes)
