"""Hosts as installers leave them: files below a folder, and a network as the kernel reports it."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from _grains import k3s
from _grains._k3s_kernel import Address, Link, Network

ETH0 = {"eth0": ["192.0.2.11/24", "2001:db8::11/64"]}
TWO_CARDS = {"eth0": ["192.0.2.11/24"], "eth1": ["10.0.0.11/24"]}
UNITS = "etc/systemd/system"
CONFIGURATION = "etc/rancher/k3s/config.yaml"
DATA = "var/lib/rancher/k3s"


class Host:
    """A folder that stands for the root of a host."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str | bytes = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def link(self, path: str, target: str) -> None:
        link = self.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    def folder(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).mkdir(parents=True, exist_ok=True)

    def unit(self, name: str, command: str, *more: str, folder: str = UNITS) -> None:
        """A unit with this ExecStart, and more lines of [Service]."""
        lines = ["[Service]", *more, f"ExecStart={command}"]
        self.write(f"{folder}/{name}", "\n".join(lines) + "\n")

    def install_sh(self, role: str, *flags: str, name: str = "", environment: str = "") -> str:
        """What https://get.k3s.io writes with systemd; return the unit's name."""
        unit = f"{name or ('k3s' if role == 'server' else 'k3s-agent')}.service"
        words = [f"    {role}", *(f"\t'{flag}'" for flag in flags)]
        lines = [
            "[Unit]",
            "Description=Lightweight Kubernetes",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
            "[Service]",
            "Type=exec",
            "EnvironmentFile=-/etc/default/%N",
            "EnvironmentFile=-/etc/sysconfig/%N",
            f"EnvironmentFile=-/{UNITS}/{unit}.env",
            "ExecStartPre=-/sbin/modprobe br_netfilter",
            "ExecStart=/usr/local/bin/k3s \\",
            *(f"{word} \\" for word in words),
            "",
        ]
        self.write(f"{UNITS}/{unit}", "\n".join(lines) + "\n")
        self.write(f"{UNITS}/{unit}.env", environment)
        self.enable(unit)
        return unit

    def install_sh_openrc(self, role: str, *flags: str, name: str = "k3s") -> None:
        """What https://get.k3s.io writes with OpenRC."""
        words = " \\\n\t".join([role, *(f"'{flag}'" for flag in flags)])
        self.write(
            f"etc/init.d/{name}",
            f"""#!/sbin/openrc-run

supervisor=supervise-daemon
name={name}
command="/usr/local/bin/k3s"
command_args="{words}
    >>/var/log/{name}.log 2>&1"

set -o allexport
if [ -f /etc/environment ]; then . /etc/environment; fi
if [ -f /etc/rancher/k3s/{name}.env ]; then . /etc/rancher/k3s/{name}.env; fi
set +o allexport
""",
        )

    def alpine(self, conf_d: str) -> None:
        """What Alpine's package has, with this configuration."""
        self.write(
            "etc/init.d/k3s",
            """#!/sbin/openrc-run
K3S_LOGFILE="${K3S_LOGFILE:-/var/log/${RC_SVCNAME}.log}"
supervisor=supervise-daemon
name="k3s"
command="/usr/bin/k3s"
command_args="${K3S_EXEC} ${K3S_OPTS} >>${K3S_LOGFILE} 2>&1"
start_pre() {
\tcheckpath -f -m 0644 -o root:root "${K3S_LOGFILE}"
}
""",
        )
        self.write("etc/conf.d/k3s", conf_d)

    def enable(self, unit: str, target: str = "multi-user.target") -> None:
        self.link(f"{UNITS}/{target}.wants/{unit}", f"/{UNITS}/{unit}")

    def process(
        self, number: int, title: str, comm: str, unit: str = "", **namespaces: str
    ) -> None:
        """A process, in this minion's namespaces if none are named."""
        for name in ("self", str(number)):
            for kind in ("net", "pid"):
                inode = namespaces.get(kind, "1") if name != "self" else "1"
                path = self.root / f"proc/{name}/ns/{kind}"
                if not path.is_symlink():
                    self.link(f"proc/{name}/ns/{kind}", f"{kind}:[{inode}]")
        self.write(f"proc/{number}/comm", f"{comm}\n")
        self.write(f"proc/{number}/cmdline", title)
        self.write(f"proc/{number}/cgroup", f"0::/system.slice/{unit}\n" if unit else "0::/\n")

    def grains(self, cards=None, operator=None, **options) -> dict:
        """The grains of this host with these cards."""
        found = network(ETH0 if cards is None else cards, **options)
        return k3s._node(self.root, operator or {}, lambda: found)

    def addresses(self, cards=None, **options) -> list[str]:
        return self.grains(cards, **options).get("k3s_node_ips", [])

    def doubts(self, cards=None, **options) -> list[str]:
        return self.grains(cards, **options).get("k3s_doubts", [])


def address(card: str, text: str, **flags: bool) -> Address:
    found = ipaddress.ip_interface(text)
    return Address(card, found.ip, found.network.prefixlen, **flags)


def network(cards, gateway="eth0", sources=(), links=(), also=()) -> Network:
    """A network with these cards.

    gateway
        The card of the default route; empty for none.
    sources
        Maps destinations to the source that the kernel picks.
    links
        Links that are not plain cards.
    also
        Addresses with flags, after those of the cards.
    """
    own = {link.name for link in links}
    addresses = [address(card, text) for card, texts in cards.items() for text in texts]
    addresses += also
    versions = sorted({each.ip.version for each in addresses if each.interface == gateway})
    towards = {
        ipaddress.ip_address(to): ipaddress.ip_address(by) for to, by in dict(sources).items()
    }
    names = dict.fromkeys(each.interface for each in addresses)
    return Network(
        (*(Link(name) for name in names if name not in own), *links),
        tuple(addresses),
        tuple((version, gateway) for version in versions),
        towards.get,
    )
