from pathlib import Path

from demo.full.rabbitmq import RabbitMq, definitions
from demo.full.system_packages import find_programs

BROKER = RabbitMq(
    programs=find_programs(lambda name: f"/bin/{name}"),
    folder=Path("/demo/rabbitmq"),
    port=5,
    password="secret",
)


def test_each_cloud_can_use_only_its_own_virtual_host() -> None:
    made = definitions(BROKER, ["cloud-1", "cloud-2"])

    assert made["vhosts"] == [{"name": "cloud-1"}, {"name": "cloud-2"}]
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    assert made["permissions"] == [
        {"user": name, "vhost": name, **everything} for name in ("cloud-1", "cloud-2")
    ]


def test_services_reach_the_virtual_host_of_their_cloud() -> None:
    assert BROKER.url("cloud-1") == "rabbit://cloud-1:secret@127.0.0.1:5/cloud-1"
    assert "secret" not in repr(BROKER)
