"""Real control planes and Envoys whose registry is a real Kubernetes API server.

with KubernetesStack(folder) as stack:
    serve = stack.serve()
    stack.put(manifest("cloud-2", services=...))  # kubectl apply --server-side
    cloud = stack.site("cloud-1", services=...)
"""

from pathlib import Path

from harness.kubernetes import ApiServer
from harness.stack import ProcessStack
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.clouds.model import Cloud


class KubernetesStack(ProcessStack):
    """An API server of its own, and what one module of tests starts beside it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.api = ApiServer(folder / "kubernetes")
        self._closing.callback(self.api.kill)
        try:
            self.api.start().apply_ours()
        except BaseException:
            self.close()
            raise

    @property
    def registry(self) -> str:
        return self.api.registry

    def put(self, *clouds: Cloud) -> None:
        self.api.apply(*map(to_document, clouds))

    def logs(self) -> str:
        return f"{self.api.server.tail()}\n{super().logs()}"
