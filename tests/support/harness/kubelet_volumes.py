"""The files of a Secret or ConfigMap in a pod, laid and renewed as kubelet does.

    tls.crt -> ..data/tls.crt
    ..data -> ..2030_01_01_00_00_00.1234567
    ..2030_01_01_00_00_00.1234567/tls.crt

A renewal writes another such folder and renames a link over `..data`, so all files change at once.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path


def write_volume(folder: Path, files: Mapping[str, bytes], *, mode: int = 0o440) -> None:
    """Write the files of a volume, or renew them; those that are not named go."""
    folder.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f"..{datetime.now(UTC):%Y_%m_%d_%H_%M_%S}.", dir=folder))
    new.chmod(0o755)
    for name, content in files.items():
        (new / name).write_bytes(content)
        (new / name).chmod(mode)
    data, link = folder / "..data", folder / "..data_tmp"
    before = folder / data.readlink() if data.is_symlink() else None
    link.symlink_to(new.name)
    os.rename(link, data)
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    for each in folder.iterdir():
        if not each.name.startswith("..") and each.name not in files:
            each.unlink()
    if before is not None:
        shutil.rmtree(before)
