"""`python -m fuzzing READER SECONDS`: inputs led by coverage, with atheris, for so long.

What raises goes to `build/fuzz/READER.found/`, the smallest input for each place in the code, and
the run goes on. At the end the smallest inputs with the same coverage become the kept corpus.
"""

import importlib
import subprocess
import sys
import traceback
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import atheris

from fuzzing import corpus

BUILD = Path("build") / "fuzz"
INSTRUMENTED = [
    "scopeway.control_plane.scope",
    "scopeway.control_plane.clouds",
    "scopeway.control_plane.registry",
    "scopeway.xds",
]
LARGEST = {
    **{"scope": 2200, "manifest": 4096, "files": 4096, "requests": 4096, "lua": 2200},
    **{"front": 1200, "peer": 800, "answers": 2200, "dispatch": 600, "collect": 600},
    "links": 600,
}
LARGEST_KEPT = 600
"""Bytes of an input in the kept corpus: nobody reads longer ones."""
MOST_KEPT = 40_000
"""Bytes of a kept corpus."""


def main() -> None:
    reader, seconds, *options = sys.argv[1:]
    if options:
        _fuzz(reader, options)
        return
    module = importlib.import_module(f"fuzzing.{reader}")
    folder, found, smallest, words = (
        BUILD / f"{reader}.{kind}" for kind in ("corpus", "found", "smallest", "words")
    )
    for each in (folder, found, smallest):
        each.mkdir(parents=True, exist_ok=True)
    for data in [*module.seeds(), *corpus.read(reader)]:
        (folder / sha256(data).hexdigest()[:16]).write_bytes(data)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in module.DICTIONARY))
    _forget_what_is_mended(module, found)
    _child(reader, f"-max_total_time={seconds}", f"-dict={words}", str(folder))
    for old in smallest.iterdir():
        old.unlink()
    _child(reader, "-merge=1", f"-max_len={LARGEST_KEPT}", str(smallest), str(folder))
    corpus.write(reader, _first_of(path.read_bytes() for path in smallest.iterdir()))
    left = sorted(found.glob("*.txt"))
    print(
        f"{reader}: {len(corpus.read(reader))} inputs are kept, {len(left)} found", *left, sep="\n"
    )
    sys.exit(1 if left else 0)


def _child(reader: str, *options: str) -> None:
    common = [f"-max_len={LARGEST[reader]}", "-timeout=1200", "-rss_limit_mb=1500"]
    common.append(f"-artifact_prefix={BUILD}/{reader}.")  # slow units, and what ends the process
    command = [sys.executable, "-m", "fuzzing", reader, "0"]
    subprocess.run([*command, *common, "-print_final_stats=1", *options], check=True)


def _fuzz(reader: str, options: list[str]) -> None:
    with atheris.instrument_imports(include=INSTRUMENTED):
        module = importlib.import_module(f"fuzzing.{reader}")
        importlib.import_module("scopeway.control_plane.scope.parser")
    check = module.led(atheris) if hasattr(module, "led") else module.check

    def one_input(data: bytes) -> None:
        try:
            check(data)
        except Exception as error:
            _keep(reader, data, error)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        made = module.mutated(data, seed) if seed % 2 else None
        return atheris.Mutate(data, longest) if made is None else made[:longest]

    own = {"custom_mutator": mutate} if hasattr(module, "mutated") else {}
    atheris.Setup([str(_again(reader)), *options], one_input, **own)
    atheris.Fuzz()


def _again(reader: str) -> Path:
    """What starts this again: a merge does so, in a shell, by the name of the program."""
    script = (BUILD / f"{reader}.sh").absolute()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fuzzing {reader} 0 "$@"\n')
    script.chmod(0o755)
    return script


def _keep(reader: str, data: bytes, error: Exception) -> None:
    """Keeps the smallest input for each way to fail."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    way = [type(error).__name__, *(f"{frame.name}:{frame.lineno}" for frame in frames)]
    file = BUILD / f"{reader}.found" / sha256(" ".join(way).encode()).hexdigest()[:12]
    if not file.exists() or len(data) < len(file.read_bytes()):
        file.write_bytes(data)
        file.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))


def _forget_what_is_mended(module: ModuleType, found: Path) -> None:
    for file in found.glob("*.txt"):
        try:
            module.check(file.with_suffix("").read_bytes())
        except Exception:
            continue
        file.unlink()
        file.with_suffix("").unlink()


def _first_of(inputs: Iterable[bytes]) -> list[bytes]:
    """The smallest ones, MOST_KEPT bytes of them."""
    chosen: list[bytes] = []
    size = 0
    for data in sorted(inputs, key=len):
        size += len(data)
        if size > MOST_KEPT:
            break
        chosen.append(data)
    return chosen


def _escaped(word: str | bytes) -> str:
    data = word.encode() if isinstance(word, str) else word
    return "".join(f"\\x{byte:02x}" for byte in data)


main()
