"""Other releases of Salt than the one that runs the tests, each in an environment of its own."""

import fcntl
import site
import subprocess
import sys
from pathlib import Path

import salt.version

# Inside the environment that runs the tests, so that both are thrown away together. Where it really
# is: a link that leads there may be gone tomorrow.
FOLDER = Path(sys.prefix).resolve() / "other-salts"


def programs(release):
    """The folder of the Salt programs of a release such as ``3006``: its newest patch."""
    if salt.version.__version__.partition(".")[0] == release:
        return Path(sys.executable).parent
    FOLDER.mkdir(exist_ok=True)
    environment = FOLDER / release
    with open(FOLDER / f"{release}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete, made_of = environment / "complete", f"{environment}\n{sys.version}\n{_shared()}"
        # Its programs name their Python by its path, so one that was moved is of no use.
        if not complete.exists() or complete.read_text() != made_of:
            _make(environment, f"salt~={release}.0")
            complete.write_text(made_of)
    return environment / "bin"


def _make(environment, requirement):
    """Install Salt, and what it needs in other versions; the rest it takes from the tests."""
    venv = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(environment)]
    subprocess.run(venv, check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "of_the_tests.pth").write_text(_shared())
    pip = [sys.executable, "-m", "pip", f"--python={environment}/bin/python", "install"]
    options = ["--quiet", "--disable-pip-version-check", "--no-build-isolation"]
    done = subprocess.run([*pip, *options, requirement], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _shared():
    """The folders of the packages that it takes from the tests, a line each."""
    return "\n".join(str(Path(folder).resolve()) for folder in site.getsitepackages())
