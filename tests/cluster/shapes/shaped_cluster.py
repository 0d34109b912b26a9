"""A small cluster of one shape, with real Salt, in which firewalld has not been started yet."""

import json
import os
import re
from contextlib import contextmanager
from pathlib import Path

from lab import daemons
from lab.cluster import Lab
from tests import other_firewalld
from tests.cluster.init_script import manage_services
from tests.cluster.shapes.pod_paths import PodPaths
from tests.cluster.shapes.shapes import site_of

SCRIPT = Path(__file__).parents[3] / "bench/source_script.sh"
PREPARED, MANAGED = "k3s_firewall_prepared", "k3s_firewall"


@contextmanager
def standing(shape):
    """Start the cluster, with everything that K3s makes of its nodes, and nothing of ours."""
    # Kept in a name: an ephemeral lab ends with its object.
    lab = Lab(f"shape{os.getpid()}", shape.hosts, ephemeral=True)
    with lab:
        for spec in shape.nodes:
            other_firewalld.put_on(lab.host(spec.name))
            manage_services(lab.host(spec.name))
        with PodPaths(lab, shape).up() as paths:
            yield ShapedCluster(lab, shape, paths)


class ShapedCluster:
    """The cluster as an operator uses it on the master."""

    def __init__(self, lab, shape, paths):
        self.lab = lab
        self.shape = shape
        self.paths = paths
        self.nodes = list(paths.nodes.values())

    def salt(self, target, *words):
        done = self.lab.salt("--static", "--out=json", "--timeout=60", target, *words)
        return json.loads(done.stdout)

    def write_site(self, *parts):
        """Write the site's pillar and let every node see it, and the node list as it is now."""
        (self.lab.srv / "pillar/k3s").mkdir(exist_ok=True)
        (self.lab.srv / "pillar/k3s/site.sls").write_text(site_of(self.shape.site, *parts))
        self.salt("*", "saltutil.sync_all")
        self.salt("*", "saltutil.refresh_grains")
        self.salt("*", "saltutil.refresh_pillar", "wait=True")

    def apply(self):
        """The returns of k3s.firewall by minion, and in them by the names of the states."""
        returned = self.salt("*", "state.apply", "k3s.firewall")
        for minion, states in returned.items():
            assert isinstance(states, dict), f"{minion}: {states}"
        return {
            minion: {state["__id__"]: state for state in states.values()}
            for minion, states in returned.items()
        }

    def resync(self):
        """Write anew what firewalld < 2.0 flushes, as kube-proxy and flannel do."""
        for number in self.paths.nodes:
            self.paths.redirect(number)

    def reboot(self, number):
        """Switch a node off and on; firewalld is enabled there, and K3s starts after it."""
        host = self.paths.nodes[number]
        self.lab.reboot(host.name)
        host.start_firewalld()
        daemons.wait_for_minions(self.lab.master, [host], timeout=120)
        self.paths.restart(number)

    def open_by_script(self):
        """Open what the script of the source opens, in one call for each kind."""
        for host in self.nodes:
            host.start_firewalld()
            for option in (r"--add-port=\S+", r"--add-rich-rule='[^']*'"):
                found = sorted(set(re.findall(option, SCRIPT.read_text())))
                host.run(
                    ["firewall-cmd", "--permanent", *(each.replace("'", "") for each in found)]
                )
            host.run(["firewall-cmd", "--reload"])
