"""The demo as data: its parts, their steps, and what must come of each step."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from lab.k3s.pods import INSIDE
from lab.k3s.services import POD_PORT
from lab.spec import DEFAULT_HOSTS


class Expected(enum.Enum):
    """The result that a step must have; otherwise the demo stops."""

    SUCCESS = "return code 0"
    GOOD = "every node is fine"
    BAD = "a problem, or a refusal"


@dataclass(frozen=True)
class Step:
    """One command on a host; without a command, the fix that was printed last."""

    host: str
    command: tuple[str, ...] = ()
    expected: Expected = Expected.GOOD
    # What the answers must contain.
    naming: tuple[str, ...] = ()
    text: str = ""

    @property
    def types_fix(self) -> bool:
        """Whether the command is the fix that an earlier step printed."""
        return not self.command


@dataclass(frozen=True)
class Part:
    """Steps under one title."""

    title: str
    steps: tuple[Step, ...] = ()
    # Repeated only after the code of this checkout has changed.
    once: bool = False
    starts_k3s: bool = False
    sends_packets: bool = False


@dataclass(frozen=True)
class Packet:
    """A new connection to an address or to the pod of a node, and whether the tables allow it."""

    host: str
    target: str
    port: int
    is_allowed: bool
    why: str
    address: str = ""
    pod_of: str = ""
    inside: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The name of the sender."""
        return f"pod on {self.host}" if self.inside else self.host


ADDRESSES = {spec.name: spec.ipv4 for spec in DEFAULT_HOSTS}


def _to(host: str, target: str, port: int, is_allowed: bool, why: str) -> Packet:
    return Packet(host, target, port, is_allowed, why, address=ADDRESSES[target])


PACKETS = (
    _to("s2", "s1", 2379, True, "etcd is for servers"),
    _to("a1", "s1", 2379, False, "and not for agents"),
    _to("a1", "s1", 6443, True, "every node needs the API"),
    _to("out", "s1", 6443, False, "an outsider does not"),
    _to("out", "a1", 6379, True, "clients may use redis"),
    _to("out", "a1", 10250, False, "but not the kubelet"),
    Packet("a1", "pod on s2", POD_PORT, True, "through VXLAN", pod_of="s2", inside=INSIDE),
    Packet("a1", "10.43.0.1", 443, True, "the API as a service", "10.43.0.1", inside=INSIDE),
)

LOST_RULE = "rule family=ipv4 source ipset=k3s-node-4 port port=6443 protocol=tcp accept"
SITE_FILE = "/srv/pillar/k3s/site.sls"
# Outside of the lab it lies in its folder, where a browser can open it.
REPORT_FILE = "/srv/cluster.html"
# A mistake of one word: s3 is a server, and a voting member of etcd.
SITE = "k3s: {nodes: {s3: {role: agent}}}"

APPLY = ("salt", "*", "state.apply", "k3s.firewall")
# As an agent sees it, and the node itself.
API_CHECK = ("salt", "-L", "a1,s1", "k3sfw.check_ports", "port=6443")

PARTS = (
    Part(
        "The nodes get k3sfw from their master, and tell it what they are",
        (
            Step("m", ("salt", "*", "saltutil.sync_all"), Expected.SUCCESS),
            Step("m", ("salt-run", "saltutil.sync_all"), Expected.SUCCESS),
            Step("m", ("salt", "*", "saltutil.refresh_pillar", "wait=True"), Expected.SUCCESS),
        ),
        once=True,
    ),
    Part("The port tables become firewall rules on every node", (Step("m", APPLY),)),
    Part(
        "K3s starts: real etcd and redis, pods, VXLAN, stand-ins for the rest",
        starts_k3s=True,
    ),
    Part(
        "The nodes tell their master which pods are whose",
        (Step("m", ("salt", "*", "saltutil.refresh_grains"), Expected.SUCCESS),),
        once=True,
    ),
    Part(
        "Three checks prove it, with packets (each report cut to a line here)",
        (
            Step("m", ("salt", "*", "k3sfw.check_ports")),
            Step("m", ("salt", "*", "k3sfw.check_routes")),
            Step("m", ("salt", "*", "k3sfw.check_zones")),
        ),
    ),
    Part("Packets of both signs, each over a new connection", sends_packets=True),
    Part(
        "A rule is taken away by hand: found, named, fixed",
        (
            Step(
                "s1",
                ("firewall-cmd", "-q", "--policy=k3s-rows", f"--remove-rich-rule={LOST_RULE}"),
                Expected.SUCCESS,
            ),
            Step("m", API_CHECK, Expected.BAD, naming=("tcp/6443 a1 -> s1", "by s1 itself")),
            Step("m", text="The fix, typed as it was printed:"),
            Step("m", API_CHECK),
        ),
    ),
    Part(
        "A mistake in pillar that would cut etcd off is refused",
        (
            Step(
                "m",
                ("sh", "-c", f'cd /srv/pillar; mkdir -p k3s\n  echo "{SITE}" > k3s/site.sls'),
                Expected.SUCCESS,
                text="One wrong word: s3 is a server and a voting member of etcd.",
            ),
            Step(
                "m",
                ("salt", "s1", "state.apply", "k3s.firewall"),
                Expected.BAD,
                naming=("this would close tcp/23", "(s3, ", "connection to etcd"),
            ),
            Step("m", ("rm", SITE_FILE), Expected.SUCCESS),
        ),
    ),
    Part(
        "The whole cluster on one page",
        (Step("m", ("salt-run", "k3sfw.report", f"html={REPORT_FILE}"), Expected.SUCCESS),),
    ),
)

END = """\
That was all, in {seconds} s. The report of this cluster is
  {report}
Open it:
  xdg-open {report}
The cluster runs until you stop it. Look around:
  lab/on m bash                              a shell on the master: salt ...
  lab/on m salt a1 k3sfw.explain source=192.0.2.99 port=6379
  lab/on m salt s1 k3sfw.history
  lab/on s1 firewall-cmd --policy=k3s-rows --list-rich-rules
  lab/on a2 ip route del 10.42.2.0/24        break a route, then
  lab/on m salt '*' k3sfw.check_routes       see it named, and the fix
  .venv/bin/python -m lab hosts
Stop it:
  make stop"""
