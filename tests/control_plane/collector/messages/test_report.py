"""Reports, as JSON and as headers."""

from scopeway.control_plane.collector.messages.report import (
    MAX_HEADER,
    Failure,
    Report,
    write_header,
)


def test_a_header_is_cut_at_its_limit() -> None:
    failed = [Failure(f"c{number}", 503, "unreachable", "x" * 300) for number in range(4_000)]
    report = Report(4_000, failed=failed).header(names=True)
    writes = write_header((f"c{number}", 503, None, "x" * 300) for number in range(4_000))

    assert MAX_HEADER - 100 < len(report) <= MAX_HEADER
    assert report.startswith(b"asked=4000, answered=0, failed=4000, clouds=(c0;status=503;")
    assert len(writes) <= MAX_HEADER
    assert writes.rpartition(b", ")[2].startswith(b"more;n=39")


def test_names_and_texts_are_written_as_rfc_9651_has_them() -> None:
    header = write_header([("1a", 201, 'x"y', ""), ("b", 503, None, "no\r\n\x00é")])

    assert header == b'"1a";status=201;id="x\'y", b;status=503;reason="no\'\'\'\'"'


def test_a_sentence_names_the_first_failures() -> None:
    failed = [Failure(f"c{number}", 503, "error", "down") for number in range(7)]

    assert Report(9, failed=failed).sentence() == (
        "7 of 9 clouds failed: c0 (503 down), c1 (503 down), c2 (503 down), c3 (503 down), "
        "c4 (503 down), and 2 more"
    )
