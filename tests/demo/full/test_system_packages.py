from pathlib import Path

import pytest

from demo.errors import PartMissing
from demo.full.system_packages import NAMES, find_programs


def test_a_missing_program_is_reported_with_the_command_that_installs_it() -> None:
    with pytest.raises(
        PartMissing,
        match=r"no program 'mariadbd' in .*: "
        r"install them with `sudo apt-get install mariadb-server rabbitmq-server`",
    ):
        find_programs(lambda name: None)


def test_each_program_is_found_by_its_name() -> None:
    programs = find_programs(lambda name: f"/bin/{name}")

    for field, name in NAMES.items():
        assert getattr(programs, field) == Path("/bin") / name
