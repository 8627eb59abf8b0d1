"""Tests, decisions and files that the documents name exist."""

import re
from pathlib import Path

import pytest

from harness.version_before import COMMIT

REPOSITORY = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/.-]+)(?:::(\w+))?`")
MEANT = re.compile(r"`tests/[^`]*`")
TRANSCRIPT = re.compile(r"`(\w+\.txt)`")
PATH = re.compile(
    r"`((?:control_plane|xds|lua_filters|tests|deploy|envoy|src|\.ci)/[\w./-]*?[\w/])(?:::\w+)?`"
)
ROW = re.compile(r"^\| (.+) \| (.+) \|$", re.MULTILINE)
DECISION = re.compile(r"\badr/(\d{4})|\bADR (\d+)")
DOCUMENTS = ["docs/limits.md", "docs/upgrades.md", "docs/xds/protocol.md", "SECURITY.md"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_a_document_names_exists(document: str) -> None:
    text = (REPOSITORY / document).read_text()
    named = NAMED.findall(text)
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (REPOSITORY / file).exists()
        or (test and f"def {test}(" not in (REPOSITORY / file).read_text())
    ]

    assert named
    assert missing == []
    assert [each for each in MEANT.findall(text) if not NAMED.fullmatch(each)] == []


def test_the_documented_version_before_is_the_tested_one() -> None:
    text = (REPOSITORY / "docs/upgrades.md").read_text()

    assert f"The version before is commit {COMMIT[:7]}," in text


@pytest.mark.parametrize(
    ("document", "before", "after"),
    [
        ("SECURITY.md", "## What an attacker gets", "\n**"),
        ("docs/limits.md", "# Limits", "\n## "),
    ],
)
def test_every_row_of_a_table_of_limits_names_a_test(
    document: str, before: str, after: str
) -> None:
    text = (REPOSITORY / document).read_text()
    table = text.partition(before)[2].partition(after)[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    vague = [row for row in rows if not all(test for _, test in NAMED.findall(row) or [("", "")])]

    assert rows
    assert vague == []


def test_every_named_decision_record_exists() -> None:
    files = list(REPOSITORY.glob("*.md"))
    for folder in ("control_plane", "docs", "envoy", "lua_filters", "tests", "xds"):
        files += [
            each
            for each in (REPOSITORY / folder).rglob("*")
            if each.suffix in (".md", ".py", ".lua", ".yaml")
        ]
    there = {int(each.name[:4]) for each in (REPOSITORY / "docs" / "adr").glob("0*.md")}
    named = {
        (int(number or word), str(each.relative_to(REPOSITORY)))
        for each in files
        for number, word in DECISION.findall(each.read_text())
    }

    assert named
    assert {(number, file) for number, file in named if number not in there} == set()


def test_the_index_of_decisions_lists_each_with_its_title() -> None:
    folder = REPOSITORY / "docs" / "adr"
    index = re.findall(r"^(\d+\. )\[(.+)\]\((.+)\)$", (folder / "README.md").read_text(), re.M)

    titles = {each.name: each.read_text().splitlines()[0] for each in sorted(folder.glob("0*.md"))}
    assert {file: f"# {number}{title}" for number, title, file in index} == titles


@pytest.mark.parametrize(
    "document",
    [
        str(each.relative_to(REPOSITORY))
        for each in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"))
        if each.name != "CHANGELOG.md"  # it speaks of the past, too
    ],
)
def test_every_path_that_a_document_names_exists(document: str) -> None:
    text = (REPOSITORY / document).read_text()

    assert [path for path in PATH.findall(text) if not (REPOSITORY / path).exists()] == []


class TestProtocol:
    """The tables of the protocol's sentences in docs/xds/protocol.md."""

    SENTENCES = (
        (REPOSITORY / "docs" / "xds" / "protocol.md").read_text().partition("## Sentences of")[2]
    )

    def test_every_transcript_is_named_in_the_protocol_page(self) -> None:
        directory = REPOSITORY / "tests" / "testdata" / "session"
        named = set(TRANSCRIPT.findall(self.SENTENCES)) - {"name.txt"}

        assert named == {each.name for each in directory.iterdir()}

    def test_every_sentence_of_the_protocol_page_names_its_proof_or_says_that_it_has_none(
        self,
    ) -> None:
        rows = [row for row in ROW.findall(self.SENTENCES) if row[1] != "shown by"]
        unproven = [
            sentence
            for sentence, proof in rows
            if not (NAMED.search(proof) or TRANSCRIPT.search(proof) or proof == "not here yet")
        ]

        assert rows
        assert unproven == []
