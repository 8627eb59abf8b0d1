"""What fleets and stacks have in common: services, the Envoys of sites, and the end of them all."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness.background import Background
from harness.dns import NameServer
from harness.echo import Echo
from harness.envoy import Envoy


def at(port: int) -> dict[str, Any]:
    """Return an address on loopback as manifests write it."""
    return {"address": "127.0.0.1", "port": port}


class Services:
    """Echo services and Envoys by their names; closes what it has started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.envoys: dict[str, Envoy] = {}
        self.echoes: dict[str, Echo] = {}
        self.name_server: NameServer | None = None
        """Where set, Envoys that are started ask it for host names."""
        self._closing = ExitStack()
        self.background = Background()
        self._closing.callback(self.background.close)

    def echo(self, name: str) -> Echo:
        """Start a service, or return the one of that name."""
        if name not in self.echoes:
            echo = self.echoes[name] = Echo(name).start(self.background)
            self._closing.callback(echo.stop, self.background)
        return self.echoes[name]

    def service(self, name: str, **more: Any) -> dict[str, Any]:
        """Return a service of a manifest that an echo service answers."""
        return {"endpoints": [at(self.echo(name).port)], **more}

    def run_envoy(self, cloud: str, config: dict[str, Any], **more: Any) -> Envoy:
        """Start the Envoy of a site from its bootstrap; `more` as `Envoy` takes it."""
        before = self.name_server.command() if self.name_server else ()
        envoy = self.envoys[cloud] = Envoy(config, self.folder, cloud, before=before, **more)
        self._closing.callback(envoy.stop)
        return envoy

    def close(self) -> None:
        self._closing.close()

    def logs(self) -> str:
        """Return the ends of all logs, for a failed test."""
        return "\n".join(envoy.tail() for envoy in self.envoys.values())
