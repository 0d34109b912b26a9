"""Clusters in the shapes of the field that work without a firewall: hosts, overlay and pillar."""

import json
from dataclasses import dataclass, field

from lab.k3s.flannel import TAILSCALE, VXLAN, Vxlan
from lab.spec import Card, HostSpec, Installation

MASTER = HostSpec("m", "master", 10)
GATEWAY = MASTER.ipv4
FLANNEL_CONF = "/etc/flannel/net-conf.json"
STRANGER = HostSpec("out", "plain", 99, firewalld=False)
OVERLAY_ROW = {"protocol": "udp", "source": "any", "destination": "any", "description": "Overlay"}


def _node(name, role, number, flags, *cards, gateway=GATEWAY):
    told = Installation(flags=tuple(flags), config_file="")
    return HostSpec(name, role, number, False, None, told, cards, gateway)


def _pair(flags, cards):
    """A server and an agent that differ only by their numbers."""
    return tuple(
        _node(
            name,
            role,
            number,
            [flag.format(number) for flag in flags],
            *(
                Card(card.name, card.switch, tuple(each.format(number) for each in card.addresses))
                for card in cards
            ),
        )
        for name, role, number in (("s1", "server", 11), ("a1", "agent", 21))
    )


@dataclass(frozen=True)
class Shape:
    """A server, an agent and what is beside them; how pods reach each other; the site's pillar.

    ``needs`` is what the site must say before the rules fit this cluster. Without it, a run must
    refuse before it touches anything.
    """

    nodes: tuple
    others: tuple = ()
    backend: object = VXLAN
    configuration: str = ""
    # By which address nodes and pods ask a node, by its name.
    known_by: dict = field(default_factory=dict)
    site: dict = field(default_factory=dict)
    needs: dict = field(default_factory=dict)

    @property
    def hosts(self):
        return (MASTER, *self.nodes, *self.others, STRANGER)

    @property
    def written(self):
        """The backend as flannel's file has it."""
        return self.backend.configuration if isinstance(self.backend, Vxlan) else self.backend


def site_of(*parts):
    """The content of site.sls, of these parts of k3s; JSON is YAML."""
    return json.dumps({"k3s": {key: value for part in parts for key, value in part.items()}})


_INNER = Card("eth1", "inner", ("198.51.100.{}/24",))
_TAILNET = Card("tailscale0", "tailnet", ("100.64.0.{}/10",))
_NAT = HostSpec(
    *("nat", "plain", 1, False),
    cards=(Card("eth1", "behind", ("10.7.0.1/24",)),),
    translates=(("192.0.2.21", "10.7.0.21"),),
)
_LAN = {"s1": "192.0.2.11", "a1": "192.0.2.21"}

SHAPES = {
    "two cards": Shape(
        _pair(["--node-ip=198.51.100.{}"], [_INNER]),
        known_by={"s1": "198.51.100.11", "a1": "198.51.100.21"},
    ),
    "external addresses": Shape(
        (
            _node("s1", "server", 11, ["--node-ip=192.0.2.11", "--flannel-external-ip"]),
            _node(
                *("a1", "agent", 21),
                ["--node-ip=10.7.0.21", "--node-external-ip=192.0.2.21"],
                Card("eth0", "behind", ("10.7.0.21/24",)),
                gateway="10.7.0.1",
            ),
        ),
        others=(_NAT,),
        known_by=_LAN,
    ),
    "tailscale": Shape(
        _pair(["--vpn-auth=name=tailscale,joinKey=x"], [_TAILNET]),
        backend=TAILSCALE,
        known_by={"s1": "100.64.0.11", "a1": "100.64.0.21"},
        site={"flannel_backend": "tailscale"},
    ),
    "DirectRouting": Shape(
        _pair(["--node-ip=192.0.2.{}", f"--flannel-conf={FLANNEL_CONF}"], []),
        backend=Vxlan(direct_routing=True),
        configuration=FLANNEL_CONF,
        known_by=_LAN,
    ),
    "another VNI and port": Shape(
        _pair(["--node-ip=192.0.2.{}", f"--flannel-conf={FLANNEL_CONF}"], []),
        backend=Vxlan(vni=42, port=4789),
        configuration=FLANNEL_CONF,
        known_by=_LAN,
        needs={"ports": {"cluster": {"flannel_vxlan": {**OVERLAY_ROW, "port": 4789}}}},
    ),
}
