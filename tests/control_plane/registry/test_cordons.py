"""Which cordon counts."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.clouds.cordon import Cordon
from control_plane.clouds.manifest import InvalidCloud, Problem
from control_plane.clouds.model import Cloud
from control_plane.registry import Batch, Catalog
from control_plane.registry.protocol import Entry

PLACES = st.sampled_from("uvwx")
NAMES = st.sampled_from("ab")
ENTRIES = st.one_of(
    st.builds(lambda name, reason: Cordon(name=name, reason=reason), NAMES, st.sampled_from("12")),
    st.builds(lambda name: Cloud(name=name), NAMES),
    st.just(InvalidCloud("x", Problem("", "is bad"))),
)
STEPS = st.lists(
    st.tuples(
        st.dictionaries(PLACES, ENTRIES, max_size=3), st.lists(PLACES, max_size=2), st.booleans()
    ),
    max_size=8,
)


@given(STEPS)
def test_batches_come_to_what_stands_in_the_places(
    steps: list[tuple[dict[str, Entry], list[str], bool]],
) -> None:
    catalog = Catalog()
    marks: dict[str, Cordon] = {}
    mirror: dict[str, str | None] = {}
    for step, (upserts, gone, complete) in enumerate(steps):
        deletes = set(gone) - upserts.keys()
        batch = Batch(upserts=upserts, deletes=deletes, complete=complete)
        change = catalog.apply(batch, now=step * 60.0)
        for place in [*marks] if complete else deletes:
            if place not in upserts:
                marks.pop(place, None)
        for place, entry in upserts.items():
            if isinstance(entry, Cordon):
                marks[place] = entry
            elif isinstance(entry, Cloud):
                marks.pop(place, None)
        mirror |= {name: change.inventory.cordon(name) for name in change.clouds}
        expected = {
            name: marks[min(at for at in marks if marks[at].name == name)].reason
            for name in {mark.name for mark in marks.values()}
        }

        assert dict(change.inventory.cordons) == expected
        assert {name: why for name, why in mirror.items() if why is not None} == expected
