"""Make the file tree of the image: Python, its shared libraries, Scopeway and nothing else.

    python3 assemble.py CONTEXT ROOT

It runs in the build stage (Containerfile), with the Python that the image gets. CONTEXT is what
`deploy/image/build_image` makes. The tree depends on it and on BASE only, not on time or order of
files.
"""

import compileall
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from py_compile import PycInvalidationMode

from sbom import bill_of_materials

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
INTERPRETER = Path(sys.executable).resolve()
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
ENVIRONMENT = Path("/opt/scopeway")
SITE_PACKAGES = ENVIRONMENT / f"lib/python{PYTHON}/site-packages"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
SBOM = Path("/usr/share/doc/scopeway/sbom.cdx.json")
USER = 65532

STANDARD_LIBRARY_LEFT_OUT = shutil.ignore_patterns(
    *("__pycache__", "site-packages", "dist-packages", "test", "tests", "config-*", "*.a"),
    *("idlelib", "tkinter", "turtledemo", "turtle.py", "ensurepip", "lib2to3", "pydoc_data"),
    # each needs a library of its own, which the control plane never calls
    *("_tkinter*", "_curses*", "readline*", "_dbm*", "_gdbm*", "_sqlite3*", "nis*", "_test*"),
)
PACKAGES_LEFT_OUT = shutil.ignore_patterns(
    *("__pycache__", "tests", "*.pyi", "*.pyx", "*.pxd", "*.c", "*.h", "*.proto", "include")
)
ACCOUNTS = {
    "etc/passwd": f"root:x:0:0:root:/:/nologin\nscopeway:x:{USER}:{USER}:scopeway:/:/nologin\n",
    "etc/group": f"root:x:0:\nscopeway:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
NEEDED = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
OPENED_BY_GLIBC = ("libnss_dns.so.2", "libnss_files.so.2", "libgcc_s.so.1")
"""No program names them: glibc opens them by itself, to resolve a name or to end a thread."""


def main(context: Path, root: Path) -> None:
    """Make the tree in `root`, which must not exist."""
    wanted = (context / "python-version").read_text().strip()
    if wanted != PYTHON:
        sys.exit(f"BASE has Python {PYTHON}, the wheels are for {wanted}: BASE_PYTHON={PYTHON}")
    install(context)
    copied = [*copy_python(root), *copy_libraries(root), *copy_files_of_the_system(root)]
    packages = copy_debian_notes(root, copied)
    bill = bill_of_materials(below(root, SITE_PACKAGES), packages)
    write(below(root, SBOM), json.dumps(bill, indent=1) + "\n")
    compile_sources(root)
    normalise(root, int(os.environ["SOURCE_DATE_EPOCH"]))


def install(context: Path) -> None:
    """Install the wheels into an environment, with the pip that is one of them, offline."""
    run(INTERPRETER, "-I", "-m", "venv", "--without-pip", ENVIRONMENT)
    (pip,) = (context / "wheels").glob("pip-*.whl")
    for found, wanted in (
        ("wheels", ["--require-hashes", "-r", context / "serve.txt"]),
        ("own", ["scopeway", "scopeway-xds"]),
    ):
        command = [ENVIRONMENT / "bin/python", "-I", pip / "pip", "--isolated", "install"]
        offline = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir"]
        run(*command, *offline, "--find-links", context / found, *wanted)


def copy_python(root: Path) -> list[Path]:
    """Copy interpreter, standard library and environment; return the files of the interpreter."""
    copy(root, INTERPRETER)
    shutil.copytree(
        STANDARD_LIBRARY,
        below(root, STANDARD_LIBRARY),
        ignore=STANDARD_LIBRARY_LEFT_OUT,
        ignore_dangling_symlinks=True,
    )
    shutil.copytree(SITE_PACKAGES, below(root, SITE_PACKAGES), ignore=PACKAGES_LEFT_OUT)
    copy(root, ENVIRONMENT / "pyvenv.cfg")
    programs = below(root, ENVIRONMENT / "bin")
    programs.mkdir()
    (programs / "python").symlink_to(INTERPRETER)
    for each in (ENVIRONMENT / "bin").glob("*scopeway*"):
        shutil.copy(each, programs)
    return [INTERPRETER, *(each for each in files(STANDARD_LIBRARY) if each.suffix == ".so")]


def copy_libraries(root: Path) -> list[Path]:
    """Copy and return every shared library that a file of the tree needs."""
    for link in map(Path, ("/lib", "/lib64")):  # where Debian's /usr is merged
        if link.is_symlink():
            below(root, link).symlink_to(link.readlink())
    objects = [each for each in files(root) if each.read_bytes()[:4] == b"\x7fELF"]
    needed = set(map(Path, NEEDED.findall(run("ldd", *objects))))
    (libc,) = (each for each in needed if each.name == "libc.so.6")
    needed |= {each for name in OPENED_BY_GLIBC if (each := libc.with_name(name)).exists()}
    libraries = sorted(each for each in needed if not each.is_relative_to(root))
    for each in libraries:
        copy(root, each.parent.resolve() / each.name)
    return libraries


def copy_files_of_the_system(root: Path) -> list[Path]:
    """Copy the system's name, where libraries are, and public authorities; write the accounts."""
    for name, text in ACCOUNTS.items():
        write(root / name, text)
    wanted = map(Path, ("/etc/os-release", "/etc/ld.so.cache", str(AUTHORITIES)))
    found = [each for each in wanted if each.exists()]
    for each in found:
        copy(root, each)
    if AUTHORITIES in found:
        # where OpenSSL looks, without the folder of one link for each authority
        default = below(root, Path(ssl.get_default_verify_paths().openssl_cafile))
        default.parent.mkdir(parents=True, exist_ok=True)
        default.symlink_to(AUTHORITIES)
    return found


def copy_debian_notes(root: Path, copied: Iterable[Path]) -> list[dict[str, str]]:
    """Copy licences and versions of the Debian packages that own files; return their fields.

    `/var/lib/dpkg/status.d` is where scanners look for the packages of an image without dpkg.
    """
    if not shutil.which("dpkg-query"):
        return []
    packages = []
    for name in sorted(owners(copied)):
        status = run("dpkg-query", "--status", name)
        fields = dict(re.findall(r"^(Package|Version|Architecture): (.*)$", status, re.MULTILINE))
        packages.append(fields)
        write(root / "var/lib/dpkg/status.d" / fields["Package"], status)
        licence = Path("/usr/share/doc", fields["Package"], "copyright")
        if licence.exists():
            copy(root, licence)
    return packages


def owners(paths: Iterable[Path]) -> set[str]:
    """Return the Debian packages that own files; dpkg may know /usr/lib/… as /lib/… only."""
    names: set[str] = set()
    for path in paths:
        names |= {str(path), str(path.resolve()), str(path.resolve()).removeprefix("/usr")}
    found = subprocess.run(
        ["dpkg-query", "--search", *sorted(names)], capture_output=True, text=True, check=False
    )
    return {
        line.partition(": ")[0] for line in found.stdout.splitlines() if "diversion" not in line
    }


def compile_sources(root: Path) -> None:
    """Write byte code that Python trusts without a look at the source: neither will change."""
    for folder in (STANDARD_LIBRARY, SITE_PACKAGES):
        compileall.compile_dir(
            below(root, folder),
            quiet=2,  # a package may have files for other Pythons
            stripdir=str(root),
            prependdir="/",
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )


def normalise(root: Path, seconds: int) -> None:
    """Give every file the same owner and time, and let nobody but root write."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.chown(path, 0, 0, follow_symlinks=False)
        os.utime(path, (seconds, seconds), follow_symlinks=False)


def files(folder: Path) -> list[Path]:
    """Return the regular files of a folder, sorted."""
    return [each for each in sorted(folder.rglob("*")) if each.is_file() and not each.is_symlink()]


def below(root: Path, path: Path) -> Path:
    """Return where a file of this system is in the tree."""
    return root / path.relative_to("/")


def copy(root: Path, path: Path) -> None:
    """Copy a file to the same path below the root; of a link, what it points to."""
    target = below(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def write(path: Path, text: str) -> None:
    """Write a file, and make the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(*command: object) -> str:
    """Run a command; return what it prints."""
    words = [str(each) for each in command]
    return subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
