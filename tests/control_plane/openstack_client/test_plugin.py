"""The option `--scope` in argparse, and what importing its module imports."""

import argparse
import os
import subprocess
import sys

import pytest

from scopeway.control_plane.openstack_client.plugin import build_option_parser

HOOK = "scopeway.control_plane.openstack_client.hook:attach_scope"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No scope in the environment, and none left behind."""
    for name in ("OS_SCOPE", "OS_SCOPE_REQUIRE"):
        for prefix in ("", "SCOPEWAY_"):
            monkeypatch.setenv(prefix + name, "")
            monkeypatch.delenv(prefix + name)
    return monkeypatch


def options(*arguments: str) -> dict[str, object]:
    """Return the options that are set, without the one that each command has."""
    parser = build_option_parser(argparse.ArgumentParser(prog="openstack"))
    found = vars(parser.parse_known_args(arguments)[0])
    assert found.pop("x_scope_command") is True
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--scope", "{glance: cloud-999}", "image", "list"),
        ("image", "list", "--scope", "{Glance:cloud-999;}"),
        ("image", "--scope=glance:cloud-999", "list"),
        ("--scope", "nova:a", "image", "list", "--scope", '{"image": "cloud-999"}'),
    ],
)
def test_the_scope_option_is_read_at_any_place_into_the_lexical_form(
    arguments: tuple[str, ...],
) -> None:
    assert options(*arguments) == {"x_scope": "image:cloud-999", "vendor_hook": HOOK}


def test_a_command_without_a_scope_keeps_the_hook_of_the_cloud() -> None:
    assert options("image", "list") == {}


def test_the_environment_variable_sets_scope_and_hook(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OS_SCOPE", "{glance: cloud-999}")

    assert options() == {"x_scope": "image:cloud-999", "vendor_hook": HOOK}


def test_the_scope_variable_is_hidden_from_openstacksdk_and_remembered(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("OS_SCOPE", "{glance: cloud-999}")

    assert options()["x_scope"] == "image:cloud-999"
    assert "OS_SCOPE" not in os.environ
    assert options()["x_scope"] == "image:cloud-999"


def test_the_last_value_of_the_environment_variable_is_used(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("OS_SCOPE", "glance:a")
    options()
    environment.setenv("OS_SCOPE", "glance:b")

    assert options()["x_scope"] == "image:b"
    environment.setenv("OS_SCOPE", "")
    assert options() == {}


def test_the_scope_option_wins_over_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OS_SCOPE", "no scope at all")

    assert options("--scope", "glance:a")["x_scope"] == "image:a"
    assert options("--scope", "")["x_scope"] == ""


def test_all_clouds_may_be_required_by_option_or_variable(
    environment: pytest.MonkeyPatch,
) -> None:
    assert options("image", "list", "--scope-require", "all") == {"x_scope_require": "all"}

    environment.setenv("OS_SCOPE_REQUIRE", "all")
    assert options() == {"x_scope_require": "all"}
    assert "OS_SCOPE_REQUIRE" not in os.environ
    assert options() == {"x_scope_require": "all"}
    assert options("--scope-require", "")["x_scope_require"] == ""


@pytest.mark.parametrize("arguments", [("--scope-require", "some"), ()])
def test_nothing_but_all_may_be_required(
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    environment.setenv("OS_SCOPE_REQUIRE", "some")

    with pytest.raises(SystemExit) as end:
        options(*arguments)

    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "openstack: error: argument --scope-require: 'some' is not 'all'\n"
    )


def test_a_wrong_scope_is_a_bad_argument_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        options("image", "list", "--scope", "{glance:cloud-1 |}")

    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "openstack: error: argument --scope: column 18: a cloud name, 'local', '[' or '('"
        " is missing between '|' and '}'\n"
    )


def test_a_wrong_scope_in_the_environment_is_refused(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("OS_SCOPE", "no_service:a")

    with pytest.raises(SystemExit):
        options("image", "list")

    assert "argument --scope: column 1: no such service: 'no_service'" in capsys.readouterr().err


def test_a_service_that_only_the_registry_knows_is_left_to_the_front() -> None:
    """The front knows the words of the registry, and suggests one for a mistyped word."""
    assert options("--scope", "{sensor: a & b}")["x_scope"] == "sensor:a&b"
    assert options("--scope", "{glanze: a}")["x_scope"] == "glanze:a"


@pytest.mark.parametrize("word", ["sen_sor", "-sensor", "s.ensor", "s" * 41])
def test_a_word_that_cannot_be_a_service_is_refused(
    capsys: pytest.CaptureFixture[str], word: str
) -> None:
    with pytest.raises(SystemExit):
        options("--scope", f"{{{word}: a}}")

    assert "argument --scope: column 2: no such service" in capsys.readouterr().err


def test_a_fanout_that_multiplies_is_refused_before_it_is_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        options("--scope", "{*: a & b}")

    assert "argument --scope: column" in capsys.readouterr().err


def test_a_line_break_in_a_scope_never_reaches_a_header() -> None:
    with pytest.raises(SystemExit):
        options("--scope", "glance:a\r\nX-Evil: 1")


def modules_after(program: str) -> set[str]:
    program = f"import sys; before = set(sys.modules); {program}; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    names = [name.split(".") for name in run.stdout.split()]
    return {".".join(parts[: 2 if parts[0] == "scopeway" else 1]) for parts in names}


SERVER = {"grpc", "envoy_data_plane", "betterproto2", "aetcd", "scopeway.xds", "yaml"}


def test_importing_the_plugin_imports_only_the_standard_library() -> None:
    found = modules_after("import scopeway.control_plane.openstack_client.plugin")

    assert found.isdisjoint({*SERVER, "lark", "os_service_types", "keystoneauth1", "openstack"})
    assert found <= set(sys.stdlib_module_names) | {"scopeway", "scopeway.control_plane"}


def test_a_scope_imports_the_parser_and_nothing_of_the_server() -> None:
    found = modules_after(
        "import argparse, scopeway.control_plane.openstack_client.plugin as plugin;"
        "import scopeway.control_plane.openstack_client.hook;"
        "plugin.build_option_parser(argparse.ArgumentParser()).parse_args(['--scope', 'nova:a'])"
    )

    assert "lark" in found
    assert found.isdisjoint({*SERVER, "keystoneauth1", "openstack"})
