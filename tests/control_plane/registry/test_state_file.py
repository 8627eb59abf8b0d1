from pathlib import Path

import pytest
from registry_model import a_cloud

from control_plane.clouds.inventory import Inventory
from control_plane.registry import Batch, Catalog, state_file
from control_plane.registry.state_file import StateDamaged

KNOWN = Inventory().apply({name: a_cloud(name) for name in ("a", "b")})


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    state_file.save(tmp_path, KNOWN, "etcd://here")
    saved = state_file.load(tmp_path)

    assert saved is not None
    assert list(saved.entries.values()) == [a_cloud("a"), a_cloud("b")]
    assert saved.registry == "etcd://here"
    assert [path.name for path in tmp_path.iterdir()] == ["clouds.jsonl"]


def test_an_empty_inventory_is_something_saved(tmp_path: Path) -> None:
    state_file.save(tmp_path, Inventory(), "etcd://here")
    saved = state_file.load(tmp_path)

    assert saved is not None
    assert saved.entries == {}


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert state_file.load(tmp_path) is None


def test_a_half_written_file_does_not_replace_the_last_one(tmp_path: Path) -> None:
    state_file.save(tmp_path, KNOWN, "etcd://here")
    (tmp_path / ".clouds.jsonl.new").write_bytes(b"half")
    saved = state_file.load(tmp_path)

    assert saved is not None
    assert len(saved.entries) == 2


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"EdgeCloud", b"EdgeCrowd", "is damaged"),
        (b'"b"}', b"", "is damaged"),
        (b'"format": 1', b'"format": 2', "is damaged"),
        (b"{", b"", "is not a file of saved clouds"),
        (b"\n", b"", "is not a file of saved clouds"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, old: bytes, new: bytes, reason: str) -> None:
    state_file.save(tmp_path, KNOWN, "etcd://here")
    path = tmp_path / "clouds.jsonl"
    path.write_bytes(path.read_bytes().replace(old, new))

    with pytest.raises(StateDamaged, match=reason):
        state_file.load(tmp_path)


def test_cordons_are_saved_with_the_clouds(tmp_path: Path) -> None:
    state_file.save(tmp_path, KNOWN.with_cordons({"b": "why", "z": ""}), "etcd://here")
    saved = state_file.load(tmp_path)

    assert saved is not None
    change = Catalog().apply(Batch(upserts=saved.entries, complete=True), now=0)
    assert dict(change.inventory.cordons) == {"b": "why", "z": ""}
    assert not change.problems
