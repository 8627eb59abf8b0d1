from scopeway.xds import type_urls


def test_unknown_types_are_sent_last() -> None:
    assert type_urls.send_rank("example.com/unknown") > type_urls.send_rank(type_urls.EXTENSION)
