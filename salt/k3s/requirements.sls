#!py
"""
Installs the Python packages that k3sfw imports into the Python that runs this minion: from
``salt://k3s/wheels`` if the site keeps wheels there for nodes without a network, else from pip's
index.

The minion's own process looks for the packages while this SLS is rendered, so pip does not run if
none is missing. The module k3sfw cannot be asked: it does not load while a package is missing.
"""

import importlib.util
import sys
from pathlib import Path

PACKAGES = ("jeepney", "netaddr", "psutil")
WHEELS = "salt://k3s/wheels"
# The same in every run: exporters make a label of it.
HEADLINE = "Python packages are missing, and pip too"


def run():
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not missing:
        return {"k3s_requirements": {"test.nop": []}}
    if importlib.util.find_spec("pip") is None:
        sentence = (
            f"missing in {sys.executable}, which runs this minion: {', '.join(missing)} and pip. "
            "Fix: install these packages with the host's package manager, or install pip alone"
        )
        # In the name as well: this state replaces its comment in test mode.
        failure = [{"name": sentence}, {"comment": f"{HEADLINE}\n{sentence}"}]
        return {"k3s_requirements": {"test.fail_without_changes": failure}}
    # Without bin_env Salt uses the pip of its own Python, and salt-pip in a onedir.
    arguments = [{"pkgs": missing}, {"reload_modules": True}]
    wheels = __salt__["cp.cache_dir"](WHEELS, __env__)
    if wheels:
        arguments += [{"no_index": True}, {"find_links": str(Path(wheels[0]).parent)}]
    return {"k3s_requirements": {"pip.installed": arguments}}
