from xds import types


def test_what_is_referred_to_goes_first() -> None:
    assert sorted(types.SEND_ORDER, key=types.send_rank) == list(types.SEND_ORDER)
    assert types.send_rank(types.CLUSTER) < types.send_rank(types.LISTENER)


def test_unknown_types_go_last() -> None:
    assert types.send_rank("example.com/unknown") > types.send_rank(types.EXTENSION)
