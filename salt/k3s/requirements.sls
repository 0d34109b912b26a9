#!py
"""
What k3sfw imports, installed into the Python that runs this minion: from ``salt://k3s/wheels``
where a site keeps wheels there for nodes without a network, else from pip's own index.

Decided while the SLS is rendered, by the importing process itself: where nothing is lacking no
pip runs. It cannot ask the module k3sfw, which does not load where something is lacking.
"""

import importlib.util
import sys
from pathlib import Path

PACKAGES = ("jeepney", "netaddr", "psutil")
WHEELS = "salt://k3s/wheels"


def run():
    lacking = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not lacking:
        return {"k3s_requirements": {"test.nop": []}}
    if importlib.util.find_spec("pip") is None:
        sentence = (
            f"{sys.executable}, which runs this minion, lacks {' and '.join(lacking)}, and pip to "
            "install them. Mend: install them with the host's package manager, or pip beside them"
        )
        # In the name as well: in test mode this state replaces its comment.
        failure = [{"name": sentence}, {"comment": sentence}]
        return {"k3s_requirements": {"test.fail_without_changes": failure}}
    # Without bin_env Salt takes the pip of its own Python, and salt-pip in a onedir.
    arguments = [{"pkgs": lacking}, {"reload_modules": True}]
    wheels = __salt__["cp.cache_dir"](WHEELS, __env__)
    if wheels:
        arguments += [{"no_index": True}, {"find_links": str(Path(wheels[0]).parent)}]
    return {"k3s_requirements": {"pip.installed": arguments}}
