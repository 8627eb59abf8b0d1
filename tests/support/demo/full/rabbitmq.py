"""A RabbitMQ of the demo's own, empty at each start: a virtual host and a user for each cloud.

Everything is on free ports of loopback, also the two helpers of Erlang: its name server (epmd),
which otherwise is one for the whole machine and stays behind, and the port for other nodes.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from demo.full.system_packages import Programs
from harness.ports import ADDRESS, free_ports
from harness.process import Process, clean_environment
from harness.supervisor import READY_SECONDS, Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitMq:
    """One running or still to be started broker."""

    programs: Programs
    folder: Path
    """Doesn't exist before the start."""
    port: int
    password: str = field(repr=False)
    """Of each cloud's user."""

    def url(self, cloud: str) -> str:
        """Of a cloud's virtual host, for oslo.messaging."""
        return f"rabbit://{cloud}:{self.password}@{ADDRESS}:{self.port}/{cloud}"


def start(supervisor: Supervisor, broker: RabbitMq, clouds: Iterable[str]) -> Process:
    """Starts the broker; it answers as soon as its port is open."""
    epmd, distribution = free_ports(2)
    _write_files(broker, clouds)
    names = supervisor.start(
        "epmd", [broker.programs.epmd, "-address", ADDRESS, "-port", str(epmd)]
    )
    names.wait_for_ports(epmd, seconds=READY_SECONDS)
    folder = str(broker.folder)
    return supervisor.start(
        "rabbitmq",
        [broker.programs.rabbitmq_server],
        cwd=broker.folder,  # where Mnesia dumps its core if it is ended while it starts
        env=clean_environment(
            HOME=folder,  # of Erlang's cookie
            ERL_EPMD_ADDRESS=ADDRESS,
            ERL_EPMD_PORT=str(epmd),
            RABBITMQ_NODENAME="scopeway@localhost",
            RABBITMQ_DIST_PORT=str(distribution),
            RABBITMQ_CONF_ENV_FILE="/dev/null",
            RABBITMQ_CONFIG_FILE=f"{folder}/rabbitmq",
            RABBITMQ_ENABLED_PLUGINS_FILE=f"{folder}/plugins",
            RABBITMQ_MNESIA_BASE=f"{folder}/mnesia",
            RABBITMQ_LOG_BASE=f"{folder}/log",
            RABBITMQ_PID_FILE=f"{folder}/pid",
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=(
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1"
            ),
            # its script then becomes the broker, instead of being a parent that would leave it
            # behind when it is killed
            RUNNING_UNDER_SYSTEMD="true",
        ),
    )


def definitions(broker: RabbitMq, clouds: Iterable[str]) -> dict[str, object]:
    """Users, virtual hosts and permissions, as RabbitMQ reads them at its start."""
    names = list(clouds)
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{"name": name, "password": broker.password, "tags": ""} for name in names],
        "vhosts": [{"name": name} for name in names],
        "permissions": [{"user": name, "vhost": name, **everything} for name in names],
    }


def _write_files(broker: RabbitMq, clouds: Iterable[str]) -> None:
    broker.folder.mkdir(mode=0o700)
    file = broker.folder / "definitions.json"
    file.write_text(json.dumps(definitions(broker, clouds)))
    (broker.folder / "plugins").write_text("[].")
    (broker.folder / "rabbitmq.conf").write_text(
        f"""\
listeners.tcp.1 = {ADDRESS}:{broker.port}
load_definitions = {file}
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 50MB
"""
    )
