"""The image's bill of materials, as CycloneDX: packages of Python, of Debian, and Python itself."""

import platform
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote


def bill_of_materials(site_packages: Path, debian: list[dict[str, str]]) -> dict[str, Any]:
    """Return the document.

    Args:
        site_packages: Has the packages that are installed.
        debian: Fields of Debian's control files, of the packages that files were copied from.
    """
    found = sorted(distributions(path=[str(site_packages)]), key=lambda each: each.name.lower())
    (own,) = (each for each in found if each.name == "scopeway")
    components = [python_package(each) for each in found if each is not own]
    components += [interpreter(), *map(debian_package, debian)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**python_package(own), "type": "application"}},
        "components": components,
    }


def python_package(package: Distribution) -> dict[str, Any]:
    """Describe an installed package of Python."""
    name = package.name.lower().replace("_", "-").replace(".", "-")
    url = f"pkg:pypi/{name}@{package.version}"
    described: dict[str, Any] = component("library", package.name, package.version, url)
    if expression := package.metadata["License-Expression"]:
        described["licenses"] = [{"expression": expression}]
    return described


def interpreter() -> dict[str, Any]:
    """Describe the Python that runs this."""
    version = platform.python_version()
    url = f"pkg:generic/python@{version}"
    return component("framework", "python", version, url)


def debian_package(fields: dict[str, str]) -> dict[str, Any]:
    """Describe a package of Debian, by the fields of its control file."""
    name, version, machine = (fields[key] for key in ("Package", "Version", "Architecture"))
    url = f"pkg:deb/debian/{name}@{quote(version)}?arch={machine}"
    return component("library", name, version, url)


def component(kind: str, name: str, version: str, url: str) -> dict[str, Any]:
    """Return what every component has; its package URL is also its name in the document."""
    return {"type": kind, "bom-ref": url, "name": name, "version": version, "purl": url}
