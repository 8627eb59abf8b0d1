"""Replicas of a control plane behind a headless Service, replaced as a Deployment replaces Pods.

deployment = Deployment(stack).start()
site = stack.site("cloud-1", services=...)
deployment.restart()
"""

import signal
import time
from collections.abc import Callable
from functools import partial

from harness.dns import NameServer
from harness.envoy import Envoy
from harness.ports import free_port
from harness.process import until
from harness.stack import ProcessStack, ServeProcess

NAME = "scopeway-xds.scopeway-system.svc"


class Deployment:
    """Some replicas: `maxSurge: 1`, `maxUnavailable: 0`.

    All listen at one port, each at a loopback address of its own. The name server answers with the
    addresses of those that are ready and not about to end, as a headless Service does.
    """

    def __init__(self, stack: ProcessStack, *options: object, replicas: int = 2) -> None:
        """Start nothing yet.

        Args:
            stack: Gets the replicas. Its Envoys know them by the name of the Service.
            options: Of `scopeway serve`.
            replicas: How many.
        """
        self._stack = stack
        self._options = options
        self._count = replicas
        self._started = 0
        self.replicas: list[ServeProcess] = []
        """What is ready, and not about to end; oldest first."""
        self.leaving: list[ServeProcess] = []
        self._names = stack.name_server = NameServer(stack.folder)
        stack.xds_name = (NAME, free_port())

    def start(self) -> "Deployment":
        for _ in range(self._count):
            self._add()
        return self

    def restart(self, available: Callable[[ServeProcess], None] | None = None) -> None:
        """Replace all replicas, as a change of the Deployment's template does.

        A replica that ends is not waited for before the next one starts, nor does a Deployment.

        Args:
            available: Returns when a new replica counts as available (`minReadySeconds`); None:
                when each Envoy knows its address.
        """
        for leaving in list(self.replicas):
            added = self._add()
            (available or self.await_known)(added)
            self.replicas.remove(leaving)
            self._publish()
            leaving.signal(signal.SIGTERM)
            self.leaving.append(leaving)

    def await_ends(self) -> None:
        """Wait until all replicas that were told to end have ended."""
        while self.leaving:
            assert self.leaving.pop().wait() == 0

    def await_known(self, added: ServeProcess) -> None:
        """Wait until each Envoy has asked the name server since this replica was ready."""
        address = f"{added.xds[0]}:{added.xds[1]}"
        for name, envoy in self._stack.envoys.items():
            until(partial(_knows, envoy, address), f"the Envoy of {name} knows {address}")

    def close(self) -> None:
        self._names.close()

    def _add(self) -> ServeProcess:
        assert self._stack.xds_name
        self._started += 1
        host = f"127.0.0.{1 + self._started}"
        added = self._stack.serve(*self._options, xds=(host, self._stack.xds_name[1]))
        self.replicas.append(added)
        self._publish()
        return added

    def _publish(self) -> None:
        self._names.addresses[NAME] = [each.xds[0] for each in self.replicas]


def after(seconds: float) -> Callable[[ServeProcess], None]:
    """Return a `minReadySeconds`."""
    return lambda _: time.sleep(seconds)


def _knows(envoy: Envoy, address: str) -> bool:
    return address in envoy.admin("/clusters").body.decode()
