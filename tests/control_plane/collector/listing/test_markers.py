"""Markers come back as they were written, and any other text is refused with a sentence."""

import binascii
import uuid
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.collector.listing import markers
from scopeway.control_plane.collector.listing.markers import (
    MAX_CLOUD_MARKER,
    MAX_MARKER,
    PREFIX,
    InvalidMarker,
    is_composite,
    pack_marker,
    read_marker,
    refuse_too_many,
)

MEMBERS = ["a", "b", "cloud-3", "edge-7"]
ID = str(uuid.UUID(int=7))

own_markers = st.one_of(
    st.none(),
    st.uuids().map(str),
    st.uuids().map(lambda each: each.hex),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
names = st.lists(st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True), min_size=1, unique=True)


@st.composite
def positions_of(draw: st.DrawFn) -> tuple[list[str], dict[str, str | None]]:
    members = draw(names)
    return members, draw(st.dictionaries(st.sampled_from(members), own_markers))


def encoded(payload: bytes) -> str:
    raw = zlib.crc32(payload).to_bytes(4) + payload
    return PREFIX + binascii.b2a_base64(raw, newline=False).decode().replace("+", "-").replace(
        "/", "_"
    ).rstrip("=")


def hash_of(cloud: str) -> bytes:
    payload = read_payload(pack_marker({cloud: None}, MEMBERS))
    return payload[1:5]


def read_payload(text: str) -> bytes:
    body = text.removeprefix(PREFIX).replace("-", "+").replace("_", "/")
    return binascii.a2b_base64(body + "=" * (-len(body) % 4))[4:]


@given(positions_of())
def test_any_positions_come_back(written: tuple[list[str], dict[str, str | None]]) -> None:
    members, positions = written
    assert read_marker(pack_marker(positions, members), members) == positions


@given(positions_of())
def test_equal_positions_give_equal_text(written: tuple[list[str], dict[str, str | None]]) -> None:
    members, positions = written
    turned = dict(reversed(positions.items()))
    assert pack_marker(turned, list(reversed(members))) == pack_marker(positions, members)


@given(positions_of())
def test_a_marker_needs_no_escaping_in_a_query(
    written: tuple[list[str], dict[str, str | None]],
) -> None:
    text = pack_marker(written[1], written[0])
    assert is_composite(text)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@given(st.one_of(st.text(), st.text("ABab01-_="), st.binary().map(encoded)))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        positions = read_marker(PREFIX + text.removeprefix(PREFIX), MEMBERS)
    except InvalidMarker:
        return
    assert set(positions) <= set(MEMBERS)


@given(st.data())
def test_a_changed_character_is_found(data: st.DataObject) -> None:
    text = pack_marker({"a": ID, "b": None, "edge-7": "ubuntu"}, MEMBERS)
    at = data.draw(st.integers(len(PREFIX), len(text) - 2))
    char = data.draw(st.sampled_from([each for each in "AZaz09-_" if each != text[at]]))
    with pytest.raises(InvalidMarker, match="is not whole"):
        read_marker(text[:at] + char + text[at + 1 :], MEMBERS)


@given(st.integers(0, 60))
def test_a_marker_that_was_cut_is_found(length: int) -> None:
    text = pack_marker({"a": ID, "b": None, "edge-7": "ubuntu"}, MEMBERS)
    with pytest.raises(InvalidMarker, match="is not whole"):
        read_marker(text[: min(len(PREFIX) + length, len(text) - 1)], MEMBERS)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (lambda: hash_of("a") + b"\x00" + hash_of("a") + b"\x00", "names a cloud twice"),
        (lambda: hash_of("a") + b"\x04", "is not whole"),
        (lambda: hash_of("a") + b"\x01" + b"short", "is not whole"),
        (lambda: hash_of("a") + b"\x03\x00", "is not whole"),
        (lambda: hash_of("a") + b"\x03\x00\x02\xff\xfe", "is not whole"),
        (lambda: hash_of("a") + b"\x03\xff\xff" + b"x" * 0xFFFF, "has .* characters"),
        (lambda: hash_of("a") + b"\x03\x04\x01" + b"x" * 1025, "is not whole"),
        (lambda: hash_of("a")[:3], "is not whole"),
    ],
    ids=["twice", "kind", "short-uuid", "no-size", "no-text", "too-long", "long-id", "half-a-hash"],
)
def test_an_entry_that_pack_marker_never_writes_is_refused(
    entries: Callable[[], bytes], sentence: str
) -> None:
    with pytest.raises(InvalidMarker, match=sentence):
        read_marker(encoded(b"\x00" + entries()), MEMBERS)


def test_a_marker_longer_than_the_limit_is_refused_unread() -> None:
    with pytest.raises(InvalidMarker, match=f"{MAX_MARKER + 1} characters, and at most"):
        read_marker(PREFIX + "A" * (MAX_MARKER + 1 - len(PREFIX)), MEMBERS)


def test_the_largest_marker_of_2000_clouds_can_be_written_and_read() -> None:
    members = [f"edge-{number}" for number in range(2000)]
    positions: dict[str, str | None] = {
        each: str(uuid.UUID(int=number)) for number, each in enumerate(members)
    }
    text = pack_marker(positions, members)
    assert len(text) <= MAX_MARKER
    assert read_marker(text, members) == positions


def test_a_next_marker_longer_than_the_limit_is_not_written() -> None:
    members = [f"edge-{number}" for number in range(60)]
    with pytest.raises(InvalidMarker, match="narrow the scope"):
        pack_marker(dict.fromkeys(members, "x" * MAX_CLOUD_MARKER), members)


def test_a_cloud_whose_own_marker_is_too_long_is_refused() -> None:
    assert pack_marker({"a": "x" * MAX_CLOUD_MARKER}, MEMBERS)
    with pytest.raises(InvalidMarker, match="has 1025 bytes"):
        pack_marker({"a": "x" * (MAX_CLOUD_MARKER + 1)}, MEMBERS)


def test_clouds_that_are_still_there_go_on_where_they_were() -> None:
    text = pack_marker({"a": ID, "b": None, "gone": "x"}, ["a", "b", "gone"])
    assert read_marker(text, ["new", "b", "a"]) == {"a": ID, "b": None}


def test_a_marker_of_other_clouds_is_refused() -> None:
    text = pack_marker({"a": ID, "b": None}, ["a", "b"])
    with pytest.raises(InvalidMarker, match="belongs to other clouds"):
        read_marker(text, ["c", "d"])


def test_names_with_equal_hashes_get_another_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = markers._hashes

    def colliding(members: list[str], salt: int) -> dict[int, str]:
        return hashes(members, salt) if salt else dict.fromkeys([1], "b")

    monkeypatch.setattr(markers, "_hashes", colliding)
    text = pack_marker({"a": ID, "b": None}, ["a", "b"])
    assert read_payload(text)[0] == 1
    assert read_marker(text, ["a", "b"]) == {"a": ID, "b": None}
    with pytest.raises(InvalidMarker, match="belongs to other clouds"):
        read_marker(encoded(b"\x00" + hash_of("a") + b"\x00"), ["a", "b"])


def test_more_than_2000_clouds_have_no_sorted_pages() -> None:
    refuse_too_many(["a"] * 2000)
    with pytest.raises(InvalidMarker, match="at most 2000 clouds, and this scope has 2001: narrow"):
        refuse_too_many(["a"] * 2001)
