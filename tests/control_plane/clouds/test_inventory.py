from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.clouds.inventory import Inventory, label_set
from scopeway.control_plane.clouds.model import Cloud, Peer

NAMES = st.sampled_from([f"cloud-{number}" for number in range(8)])
LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"))
CLOUDS = st.builds(lambda name, labels: Cloud(name=name, labels=labels), NAMES, LABELS)
CHANGES = st.lists(st.tuples(st.lists(CLOUDS), st.lists(NAMES)), max_size=6)


def inventory(*clouds: Cloud) -> Inventory:
    return Inventory().apply({cloud.name: cloud for cloud in clouds})


@given(CHANGES, LABELS, LABELS, st.none() | NAMES, st.integers(1, 9))
def test_select_equals_a_plain_sort(changes, labels, near, first, limit) -> None:
    known, model = Inventory(), dict[str, Cloud]()
    for upserts, deletes in changes:
        known = known.apply({cloud.name: cloud for cloud in upserts}, deletes)
        for name in deletes:
            model.pop(name, None)
        model |= {cloud.name: cloud for cloud in upserts}

    def order(cloud: Cloud) -> tuple[bool, int, str]:
        return cloud.name != first, -len(label_set(cloud) & set(near.items())), cloud.name

    bearers = [cloud for cloud in model.values() if label_set(cloud) >= set(labels.items())]
    expected = tuple(cloud.name for cloud in sorted(bearers, key=order)[:limit])
    assert known.select(labels, near=near, first=first, limit=limit) == expected
    assert {cloud.name: cloud for cloud in known} == model
    assert len(known) == len(model)


def test_applying_a_change_leaves_the_older_inventory_unchanged() -> None:
    before = inventory(Cloud(name="a", labels={"region": "eu"}))
    after = before.apply({"b": Cloud(name="b", labels={"region": "eu"})}, ["a"])

    assert before.select({"region": "eu"}) == ("a",)
    assert after.select({"region": "eu"}) == ("b",)
    assert before.get("b") is None
    assert after.get("a") is None


def test_the_revision_grows_with_each_change_only() -> None:
    one = inventory(Cloud(name="a"))

    assert one.revision == 1
    assert one.apply({}, ["unknown"]) is one
    assert one.apply({}, ["a"]).revision == 2


def test_a_change_of_other_fields_keeps_the_selection_by_labels() -> None:
    plain = Cloud(name="a", labels={"tier": "edge"})
    peered = Cloud(name="a", labels={"tier": "edge"}, peer=Peer(address="127.0.0.1", port=1))
    known = inventory(plain).apply({"a": peered})

    assert known.get("a") == peered
    assert known.select({"tier": "edge"}) == ("a",)


def test_select_puts_the_first_cloud_first_only_if_it_has_the_labels() -> None:
    known = inventory(
        Cloud(name="a", labels={"region": "eu"}),
        Cloud(name="b", labels={"region": "eu"}),
        Cloud(name="c", labels={"region": "us"}),
    )

    assert known.select({"region": "eu"}, first="b") == ("b", "a")
    assert known.select({"region": "eu"}, first="c") == ("a", "b")
    assert known.select({"region": "eu"}, first="unknown") == ("a", "b")


def test_select_prefers_clouds_that_share_more_labels_with_the_origin() -> None:
    known = inventory(
        Cloud(name="a", labels={"region": "eu"}),
        Cloud(name="z", labels={"region": "eu", "tier": "edge"}),
    )

    assert known.select({"region": "eu"}, near={"tier": "edge", "region": "us"}) == ("z", "a")


def test_select_returns_the_first_clouds_by_name_up_to_its_limit() -> None:
    known = inventory(
        *(Cloud(name=f"cloud-{number:04}", labels={"region": "eu"}) for number in range(5_000))
    )

    assert known.select({"region": "eu"}, limit=3) == ("cloud-0000", "cloud-0001", "cloud-0002")


def test_a_cordon_is_kept_beside_its_cloud_and_survives_changes_of_it() -> None:
    first = inventory(Cloud(name="a")).with_cordons({"a": "broken", "z": ""})
    second = first.apply({"a": Cloud(name="a", labels={"x": "y"})}, ["b"])
    third = second.with_cordons({"a": None})

    assert (second.cordon_reason("a"), second.cordon_reason("z"), second.cordon_reason("b")) == (
        "broken",
        "",
        None,
    )
    assert dict(third.cordons) == {"z": ""}
    assert first.cordon_reason("a") == "broken"
    assert third.revision == second.revision + 1
    assert third.with_cordons({}) is third
