"""What is kept: a corpus for each reader, an input a line, and what was ever found.

To be read in a review: an input is a JSON text where it is UTF-8, else its digits: `{"hex": "ff"}`.
The corpora are written by `python -m fuzzing`, `found.jsonl` by hand.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "testdata" / "fuzz"


def read(reader: str) -> list[bytes]:
    file = _file_of(reader)
    return [bytes_of(json.loads(line)) for line in file.read_text().splitlines()]


def write(reader: str, inputs: Iterable[bytes]) -> None:
    ordered = sorted(set(inputs), key=lambda data: (len(data), data))
    _file_of(reader).write_text("".join(json.dumps(_value(data)) + "\n" for data in ordered))


def found() -> list[dict[str, Any]]:
    """The inputs that were bugs once: `reader`, `why`, `input`."""
    return [json.loads(line) for line in (FOLDER / "found.jsonl").read_text().splitlines()]


def bytes_of(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes.fromhex(value["hex"])


def _file_of(reader: str) -> Path:
    return FOLDER / f"{reader}.jsonl"


def _value(data: bytes) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}
