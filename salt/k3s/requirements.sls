#!py
"""
Installs the Python packages that k3sfw imports into the Python that runs this minion: from
``salt://k3s/wheels`` if the site keeps wheels there for nodes without a network, else from pip's
index.

The minion's own process looks for the packages while this SLS is rendered, so pip does not run if
none is missing. The module k3sfw cannot be asked: it does not load while a package is missing.

Salt itself knows where packages of its Python belong: in a onedir its ``salt-pip`` has the folder
``extras-X.Y`` of each version of Python, in SUSE's bundle ``VENV_PIP_TARGET`` names one.
"""

import importlib.util
import os
import platform
import sys
import sysconfig
from pathlib import Path

# As in setup.cfg. Python 3.6 reads this file too.
LOWEST_PYTHON = (3, 9)
PACKAGES = ("jeepney", "netaddr", "psutil")
WHEELS = "salt://k3s/wheels"
# The same in every run: exporters make a label of them.
HEADLINE_TOO_OLD = "the Python of this minion is too old"
HEADLINE = "Python packages are missing, and pip cannot install them"


def run():
    if sys.version_info < LOWEST_PYTHON:
        return _failure(
            HEADLINE_TOO_OLD,
            f"k3sfw needs Python {'.'.join(map(str, LOWEST_PYTHON))} or newer, and "
            f"{sys.executable}, which runs this minion, is Python {platform.python_version()}. "
            "Fix: run the minion from the packages of the Salt Project, or SUSE's "
            "venv-salt-minion: they bring a Python of their own",
        )
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not missing:
        return {"k3s_requirements": {"test.nop": []}}
    obstacle = _obstacle(missing)
    if obstacle:
        return _failure(HEADLINE, obstacle)
    # Without bin_env Salt uses the pip of its own Python, and salt-pip in a onedir.
    arguments = [{"pkgs": missing}, {"reload_modules": True}]
    wheels = __salt__["cp.cache_dir"](WHEELS, __env__)
    if wheels:
        arguments += [{"no_index": True}, {"find_links": str(Path(wheels[0]).parent)}]
    return {"k3s_requirements": {"pip.installed": arguments}}


def _obstacle(missing):
    """Why pip cannot help, or None."""
    listed = f"missing in {sys.executable}, which runs this minion: {', '.join(missing)}"
    if importlib.util.find_spec("pip") is None:
        return (
            f"{listed} and pip. Fix: install these packages with the host's package manager, or "
            "install pip alone"
        )
    target = os.environ.get("VENV_PIP_TARGET")
    if target and any((Path(target) / name).is_dir() for name in missing):
        return (
            f"{listed}. They are in {target} (VENV_PIP_TARGET), and this process does not look "
            "there. Fix: systemctl restart venv-salt-minion"
        )
    if not target and _belongs_to_the_host():
        names = ", ".join(f"python3-{name}" for name in missing)
        return (
            f"{listed}. The distribution manages this Python, and pip may not change it. Fix: "
            f"salt-call pkg.install pkgs='[{names}]'"
        )
    return None


def _belongs_to_the_host():
    # PEP 668: such a Python has this file, and its virtual environments are not meant.
    is_own = sys.prefix != sys.base_prefix or hasattr(sys, "RELENV")
    return not is_own and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()


def _failure(headline, sentence):
    # In the name as well: this state replaces its comment in test mode.
    failure = [{"name": sentence}, {"comment": f"{headline}\n{sentence}"}]
    return {"k3s_requirements": {"test.fail_without_changes": failure}}
