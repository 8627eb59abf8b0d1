"""The cache of parsed scopes is correct and bounded."""

from typing import Any


def test_a_scope_text_is_parsed_once(modules: Any) -> None:
    resolve = modules["resolve"].resolve
    first = resolve("image:cloud-3")

    assert modules.same(first, resolve("image:cloud-3"))
    assert not modules.same(first, resolve(" image:cloud-3"))


def test_a_refused_scope_text_is_refused_again(modules: Any) -> None:
    for _ in range(2):
        assert modules["resolve"].resolve("image:") == (
            None,
            "column 7: an expression is missing for 'image'",
        )


def test_remembered_scopes_are_limited(modules: Any) -> None:
    resolve = modules["resolve"].resolve
    first = resolve("image:first")
    for number in range(2000):
        resolve(f"image:cloud-{number}")

    again = resolve("image:first")
    assert not modules.same(first, again)
    assert again.suffix == first.suffix == "~1~*:cloud-1;image:first"


def test_a_resolved_target_says_whether_it_is_foreign_and_has_several_clouds(modules: Any) -> None:
    resolve = modules["resolve"]
    resolved = resolve.resolve("image:cloud-2|cloud-3;network:[region=eu];nova:local;cinder:a&b")

    def target(service: str, *name: str) -> dict[str, Any]:
        return modules.to_dict(resolve.target(resolved, service, *name))

    assert target("image") == {
        "name": "image@cloud-2|cloud-3",
        "foreign": True,
        "fanout": False,
        "spread": True,
        "issuer": "cloud-1",
    }
    assert target("network") == {
        "name": "network@[region=eu]",
        "foreign": True,
        "fanout": False,
        "spread": True,
        "issuer": "cloud-1",
    }
    assert target("block-storage") == {
        "name": "block-storage@a&b",
        "foreign": True,
        "fanout": True,
        "spread": False,
        "issuer": "cloud-1",
    }
    assert target("compute") == {
        "name": "compute@cloud-1",
        "foreign": False,
        "fanout": False,
        "spread": False,
    }
    assert target("identity") == {
        "name": "identity@cloud-1",
        "foreign": False,
        "fanout": False,
        "spread": False,
    }
    assert target("image", "identity.validate")["name"] == "identity.validate@cloud-2|cloud-3"
