from pathlib import Path

import pytest

from demo.console import Screen
from demo.errors import PartMissing
from demo.full.environment import set_up
from harness.supervisor import Supervisor


def test_an_environment_without_nova_is_reported_with_the_command_that_installs_it(
    tmp_path: Path,
) -> None:
    with (
        Supervisor(logs=tmp_path) as supervisor,
        pytest.raises(PartMissing, match=r"'nova-manage' .*: `make demo-openstack` in a checkout"),
    ):
        set_up(tmp_path, tmp_path, supervisor, Screen(plain=True))
