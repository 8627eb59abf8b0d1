"""What pyproject.toml cannot say: the distribution `scopeway-xds` owns a part of the package.

pyproject.toml names all packages all the same (docs/adr/0018): only then does an editable install
put `src/` on the path. Otherwise it installs a finder that knows nothing of `scopeway.xds`.
"""

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Builds `scopeway` without `scopeway/__init__.py`, `scopeway/py.typed` and `scopeway/xds/`."""

    def finalize_options(self) -> None:  # noqa: D102
        super().finalize_options()
        self.packages = [
            package
            for package in self.packages or ()
            if package != "scopeway" and not f"{package}.".startswith("scopeway.xds.")
        ]


setup(cmdclass={"build_py": BuildPy})
