"""Several kubeconfigs, as $KUBECONFIG names them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from scopeway.control_plane.kubernetes_api.access import file_stamp
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.kubeconfig import find_login
from scopeway.control_plane.kubernetes_api.merged_kubeconfig import merge
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl


def config(name: str, *, current: str = "", user: dict[str, Any] | None = None) -> dict[str, Any]:
    cluster = {"server": f"https://{name}.example", "certificate-authority": "ca.crt"}
    found: dict[str, Any] = {
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user or {"tokenFile": "token"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    return found | ({"current-context": current} if current else {})


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write kubeconfigs, each in a folder of its own, and name them in $KUBECONFIG."""

    def write(**configs: object) -> list[Path]:
        files = []
        for name, value in configs.items():
            file = tmp_path / name / "config"
            file.parent.mkdir()
            file.write_text(yaml.safe_dump(value))
            files.append(file)
        missing = tmp_path / "missing"
        monkeypatch.setenv("KUBECONFIG", ":".join(map(str, [missing, *files])))
        return files

    return write


def find(context: str = "") -> Any:
    return find_login(KubernetesUrl(context=context), account=Path("/nowhere"))


def test_a_context_of_any_file_is_found_with_the_paths_of_that_file(
    write: Any, tmp_path: Path
) -> None:
    files = write(a=config("north"), b=config("south", current="south"), c=None)
    current, chosen = find(), find("north")

    assert (current.server, current.context) == ("https://south.example", "south")
    assert current.cluster["certificate-authority"] == str(tmp_path / "b/ca.crt")
    assert current.user["tokenFile"] == str(tmp_path / "b/token")
    assert chosen.user["tokenFile"] == str(tmp_path / "a/token")
    assert [current.file, *current.more_files] == files
    assert current.source == f"kubernetes:{':'.join(map(str, files))}?context=south"


def test_the_first_file_decides_on_a_name_and_on_the_current_context(write: Any) -> None:
    second = config("north", current="south")
    second["clusters"][0]["cluster"]["server"] = "https://other.example"
    write(a=config("north", current="north"), b=second, c=config("south"))

    assert find().server == "https://north.example"
    assert find("south").server == "https://south.example"


def test_a_change_of_any_file_is_noticed(write: Any) -> None:
    files = write(a=config("north", current="north"), b=config("south"))
    before = file_stamp(find())
    files[1].write_text("{}\n")

    assert file_stamp(find()) != before


def test_a_plug_in_with_a_slash_is_relative_to_its_file() -> None:
    north = config("north", user={"exec": {"command": "bin/login"}})
    south = config("south", user={"exec": {"command": "aws"}})
    merged = merge([(Path("/a/config"), north), (Path("/b/config"), south)])

    assert [each["user"]["exec"]["command"] for each in merged["users"]] == ["/a/bin/login", "aws"]


@pytest.mark.parametrize("bad", [[1], "text", 7])
def test_a_file_that_is_no_kubeconfig_is_named(write: Any, bad: object) -> None:
    files = write(a=config("north", current="north"), b=bad)

    with pytest.raises(ApiError) as caught:
        find()
    assert str(caught.value) == f"kubernetes: {files[1]} is not a kubeconfig"


def test_parts_of_a_wrong_form_are_left_to_the_reader_of_one_context() -> None:
    odd = {"clusters": 7, "users": [1, {"name": "x"}], "contexts": None}

    assert merge([(Path("/a"), odd)]) == {
        "clusters": [],
        "users": [{"name": "x", "user": None}],
        "contexts": [],
    }


def test_without_any_of_the_files_the_first_is_named(write: Any, tmp_path: Path) -> None:
    (file,) = write(a=config("north"))
    file.unlink()

    with pytest.raises(ApiError, match=f"{tmp_path}/missing cannot be read"):
        find()
