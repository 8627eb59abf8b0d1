import subprocess
import sys
from pathlib import Path

import pytest

from memory_registry import MemoryRegistry
from registry_model import a_cloud, written
from scopeway.control_plane.catalog.loader import read_registry
from scopeway.control_plane.registry import RegistryUnavailable, open_registry, open_store


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("dir:clouds/", "dir:clouds"),
        ("etcd://me:secret@10.0.0.1/x", "etcd://10.0.0.1:2379/x"),
        ("kubernetes:", "kubernetes:"),
        ("kubernetes:/etc/kubeconfig?context=a", "kubernetes:/etc/kubeconfig?context=a"),
    ],
)
def test_a_url_opens_the_registry_of_its_scheme(url: str, name: str) -> None:
    assert open_registry(url).name == name


@pytest.mark.parametrize(
    "url", ["", "clouds/", "redis://here", "etcd://a:b:c", "kubernetes://here"]
)
def test_an_unsupported_registry_url_is_refused(url: str) -> None:
    with pytest.raises(RegistryUnavailable):
        open_registry(url)


def test_an_error_in_an_unsupported_url_does_not_show_its_password() -> None:
    with pytest.raises(RegistryUnavailable) as caught:
        open_registry("https://me:secret@here")

    assert (
        str(caught.value)
        == "unsupported registry 'https'; use dir:<folder>, etcd://host[:port] or kubernetes:"
    )


def test_a_folder_cannot_be_opened_for_writing() -> None:
    with pytest.raises(RegistryUnavailable, match="dir:clouds is changed by editing its files"):
        open_store("dir:clouds")


@pytest.mark.asyncio
async def test_read_registry_returns_the_first_complete_listing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(written(a_cloud("a")))

    assert (await read_registry(open_registry(f"dir:{tmp_path}"))).clouds == {"a"}
    assert (await read_registry(MemoryRegistry(a_cloud("b")))).clouds == {"b"}


@pytest.mark.parametrize(
    ("url", "modules"),
    [
        ("dir:.", {"grpc", "lightkube", "httpx2"}),
        ("etcd://127.0.0.1", {"lightkube", "httpx2"}),
        ("kubernetes:", {"lightkube", "httpx2"}),  # the first connection imports them
    ],
)
def test_opening_a_registry_imports_no_client_of_another(url: str, modules: set[str]) -> None:
    program = (
        "import sys\n"
        "from scopeway.control_plane.registry import open_registry\n"
        f"open_registry({url!r})\n"
        f"sys.exit(bool({modules} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
