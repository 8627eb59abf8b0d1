"""The demo with three whole clouds: from Keystone to Nova, on MariaDB and RabbitMQ.

Owns what `make demo` has no need of: the system's packages, databases that are made once and kept,
Nova, and the steps. Processes, screen, traces and the Scopeway part are those of
`demo`.
"""

from pathlib import Path

from demo.full.environment import set_up
from demo.full.steps import HEADLINE_SCOPE, tell
from demo.run import Demo

FULL = Demo(
    folder=Path(".scopeway/openstack/up"),
    set_up=set_up,
    tell=tell,
    next_commands=(
        "openstack server create --image cirros --flavor m1.small"
        f' --scope "{HEADLINE_SCOPE}" cirros1',
        f'openstack server list --long --scope "{HEADLINE_SCOPE}"',
        f'scopeway explain --from cloud-1 --scope "{HEADLINE_SCOPE}" image',
        "scopeway status --watch",
    ),
    end="make openstack-down",
)
"""`make demo-openstack`."""
