from scopeway.xds import type_urls as types


def test_unknown_types_go_last() -> None:
    assert types.send_rank("example.com/unknown") > types.send_rank(types.EXTENSION)
