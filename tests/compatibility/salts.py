"""Real environments of Salt: a release on a Python, made by pip, kept between the runs of cells.

They lack what k3sfw imports beyond Salt; wheels of it are beside them, as a site would keep them
for nodes without a network.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.compatibility import pythons
from tests.compatibility.cell import NotHere

# What k3sfw imports, as in setup.cfg; Salt itself brings psutil, or not.
PACKAGES = ("jeepney", "netaddr", "psutil")


@dataclass(frozen=True)
class Environment:
    """An installed Salt, and the wheels of what k3sfw needs beside it."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / "bin/python"

    @property
    def wheels(self) -> Path:
        """The folder of the wheels."""
        return self.folder / "wheels"

    def version_of_salt(self) -> str:
        """What really is installed."""
        return self._say("import salt.version as v; print(v.__version__)")

    def version_of_python(self) -> str:
        """Likewise."""
        return self._say("import platform as p; print(p.python_version())")

    def _say(self, code: str) -> str:
        return pythons.run(self.python, "-c", code).strip()


def environment(kept: Path, release: str, python: str) -> Environment:
    """The newest patch of a release such as ``3006`` on a Python such as ``3.11``."""
    return _kept(kept, release, python, _make)


def old_environment(kept: Path, release: str, python: str) -> Environment:
    """The same on a Python that k3sfw does not support, without any wheels."""
    return _kept(kept, release, python, _make_old)


def _kept(
    kept: Path, release: str, python: str, make: Callable[[Environment, Path, str], None]
) -> Environment:
    interpreter = pythons.find(python, kept)
    made = Environment(kept / f"salt-{release}-python-{python}")
    with pythons.locked(made.folder):
        if not _works(made):
            shutil.rmtree(made.folder, ignore_errors=True)
            make(made, interpreter, release)
            _accept(made, release)
    return made


def _works(made: Environment) -> bool:
    """Whether it is complete and has not been moved: its programs name their Python by its path."""
    complete = made.folder / "complete"
    return complete.exists() and complete.read_text() == str(made.folder) and made.python.exists()


def _make(made: Environment, interpreter: Path, release: str) -> None:
    pythons.run(interpreter, "-m", "venv", "--without-pip", made.folder)
    own = ["-m", "pip", "--quiet", "--disable-pip-version-check"]
    tools = ["install", "pip", "setuptools", "wheel"]
    pythons.run(sys.executable, *own, f"--python={made.python}", *tools)
    pip = [made.python, *own]
    pythons.run(*pip, "install", f"salt~={release}.0", "GitPython")
    downloaded = ["--only-binary=:all:", f"--dest={made.wheels}", *PACKAGES]
    pythons.run(*pip, "download", *downloaded)


def _make_old(made: Environment, interpreter: Path, release: str) -> None:
    pythons.run(interpreter, "-m", "venv", made.folder)
    pip = [made.python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    if made.version_of_python().startswith("3.6."):
        # The last of each; its first pip takes newer ones that do not run there.
        pythons.run(*pip, "pip==21.3.1")
        pythons.run(*pip, "setuptools==59.6.0", "wheel==0.37.1")
    pythons.run(*pip, f"salt~={release}.0")


def _accept(made: Environment, release: str) -> None:
    """Note that it is complete, and where it is."""
    version = made.version_of_salt()
    if version.partition(".")[0] != release:
        raise NotHere(f"pip installed Salt {version} in place of {release}")
    (made.folder / "complete").write_text(str(made.folder))
