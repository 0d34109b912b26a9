"""Other releases of Salt than the one that runs the tests, each in an environment of its own."""

import fcntl
import site
import subprocess
import sys
from pathlib import Path

import salt.version

# Inside the environment that runs the tests, so that both are thrown away together.
FOLDER = Path(sys.prefix) / "other-salts"


def programs(release):
    """The folder of the Salt programs of a release such as ``3006``: its newest patch."""
    if salt.version.__version__.partition(".")[0] == release:
        return Path(sys.executable).parent
    FOLDER.mkdir(exist_ok=True)
    environment = FOLDER / release
    with open(FOLDER / f"{release}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = environment / "complete"
        if not complete.exists():
            _make(environment, f"salt~={release}.0")
            complete.touch()
    return environment / "bin"


def _make(environment, requirement):
    """Install Salt, and what it needs in other versions; the rest it takes from the tests."""
    venv = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(environment)]
    subprocess.run(venv, check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "of_the_tests.pth").write_text("\n".join(site.getsitepackages()))
    pip = [sys.executable, "-m", "pip", f"--python={environment}/bin/python", "install"]
    options = ["--quiet", "--disable-pip-version-check", "--no-build-isolation"]
    done = subprocess.run([*pip, *options, requirement], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
