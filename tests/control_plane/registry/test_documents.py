import pytest

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.clouds.validators import name_problem
from scopeway.control_plane.registry.documents import (
    CORDON_KEY,
    SERVICE_TYPES_KEY,
    _without_duplicates,
    parse_json,
    to_json,
)

GOOD = b'{"apiVersion":"scopeway.io/v1alpha1","kind":"EdgeCloud","metadata":{"name":"a"}}'


def test_an_entry_reads_back_as_the_same_cloud() -> None:
    assert to_json(Cloud(name="a")) == GOOD
    assert parse_json(GOOD, "/a", "a") == Cloud(name="a")


def test_the_size_of_an_entry_is_limited() -> None:
    assert parse_json(GOOD.ljust(262_144), "/a", "a") == Cloud(name="a")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is not JSON: Expecting value"),
        (b"\xff", "is not JSON: 'utf-8' codec can't decode"),
        (b"{" + GOOD, "is not JSON: Expecting property name"),
        (b"[" * 100_000, "is not JSON: nested too deep"),
        (GOOD.ljust(262_145), "is not JSON: longer than 262144 bytes"),
        (b'{"kind": 1, "kind": 2}', "is not JSON: duplicate field 'kind'"),
        (b"7", "7 is not an object"),
    ],
)
def test_an_entry_that_is_no_manifest_is_refused(text: bytes, reason: str) -> None:
    refused = parse_json(text, "/a", "a")

    assert isinstance(refused, InvalidCloud)
    assert refused.place == "/a"
    assert reason in refused.reason


class Counted(str):
    """A key that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)


def test_a_duplicate_field_behind_many_others_is_found_in_linear_time() -> None:
    pairs = [(Counted(number), 0) for number in [*range(2000), 1999]]

    with pytest.raises(ValueError, match="duplicate field '1999'"):
        _without_duplicates(pairs)
    assert Counted.compared < 2 * len(pairs)


def test_a_duplicate_field_with_a_long_name_gives_a_short_error() -> None:
    name = "a" * 10_000
    refused = parse_json(f'{{"{name}": 1, "{name}": 2}}'.encode(), "/a", "a")

    assert isinstance(refused, InvalidCloud)
    assert len(str(refused)) < 200


def test_the_name_in_an_entry_must_equal_its_key() -> None:
    refused = parse_json(GOOD, "/b", "b")

    assert isinstance(refused, InvalidCloud)
    assert str(refused) == '/b: metadata.name: "a" is not the name in the key, "b"'


CORDON = Cordon(name="a", reason="why")


def test_the_key_of_a_cordon_is_below_that_of_its_cloud() -> None:
    assert parse_json(to_json(CORDON), "/a/cordon", f"a{CORDON_KEY}") == CORDON
    assert parse_json(to_json(CORDON), "/1") == CORDON


SENSOR = ServiceType(name="a", aliases=("probe",), forward=("authorization",))


def test_the_keys_of_service_types_are_among_those_of_clouds_and_none_is_a_name() -> None:
    assert parse_json(to_json(SENSOR), "/x", f"{SERVICE_TYPES_KEY}a") == SENSOR
    assert parse_json(to_json(SENSOR), "/1") == SENSOR
    assert name_problem(SERVICE_TYPES_KEY.rstrip("/")) is not None


@pytest.mark.parametrize(
    ("entry", "key", "words"),
    [
        (SENSOR, "a", 'kind: "ServiceType" is not the kind of document for this key'),
        (Cloud(name="a"), "_service-types/a", 'kind: "EdgeCloud" is not the kind of document'),
        (SENSOR, "_service-types/b", 'metadata.name: "a" is not the name in the key, "b"'),
        (CORDON, "a", 'kind: "Cordon" is not the kind of document for this key'),
        (Cloud(name="a"), "a/cordon", 'kind: "EdgeCloud" is not the kind of document'),
        (CORDON, "b/cordon", 'metadata.name: "a" is not the name in the key, "b"'),
        (Cloud(name="a"), "a/b", 'metadata.name: "a" is not the name in the key, "a/b"'),
    ],
)
def test_the_kind_of_an_entry_must_match_its_key(
    entry: Cloud | Cordon | ServiceType, key: str, words: str
) -> None:
    refused = parse_json(to_json(entry), "/x", key)

    assert isinstance(refused, InvalidCloud)
    assert words in str(refused)


@pytest.mark.parametrize(
    ("key", "name"),
    [("a", "a"), ("a/cordon", None), ("_service-types/a", None), (None, "b")],
    ids=["cloud", "cordon", "service type", "none"],
)
@pytest.mark.parametrize("text", ['{"kind": "EdgeCloud", "metadata": {"name": "b"}}', "{", "[]"])
def test_the_cloud_of_a_refused_entry_is_taken_from_its_key(
    key: str | None, name: str | None, text: str
) -> None:
    """Not from the document: otherwise, a writer of one key could hold another cloud."""
    error = parse_json(text.encode(), "place", key)

    assert isinstance(error, InvalidCloud)
    assert error.name == (name if key is not None or "b" in text else None)
    assert error.cordon == ("a" if key == "a/cordon" else None)
    assert error.service_type == ("a" if key == "_service-types/a" else None)
