"""Real environments of Salt: a release on a Python, made by pip, kept between the runs of cells.

They lack what k3sfw imports beyond Salt; wheels of it are beside them, as a site would keep them
for nodes without a network.
"""

from __future__ import annotations

import shutil
import sys
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
    interpreter = pythons.find(python, kept)
    folder = kept / f"salt-{release}-python-{python}"
    with pythons.locked(folder):
        made = Environment(folder)
        if not _works(made):
            shutil.rmtree(folder, ignore_errors=True)
            _make(made, interpreter, release)
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
    version = made.version_of_salt()
    if version.partition(".")[0] != release:
        raise NotHere(f"pip installed Salt {version} in place of {release}")
    (made.folder / "complete").write_text(str(made.folder))
