"""What each tool under test applies, as data: the same packets get in with all of them.

The source's script says which ports; our tables let the same in, and more. Nothing here knows a
tool or a host.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.spec import HostSpec

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPT = Path(__file__).with_name("source_script.sh")
RUNS = 5
NODES = 5
_TABLES = ("cluster", "manager")

SERVER = HostSpec("s1", "server", 11, minion=False)
CLIENT = HostSpec("out", "plain", 99, firewalld=False)


@dataclass(frozen=True)
class Rules:
    """One state of the rules.

    rows
        How many ports more than the script has are open to everyone.
    moved
        Whether these are other ports than before.
    nodes
        How many nodes the cluster has.
    by_node
        Whether the script's ports are open to the nodes only, as the tables say. The script itself
        opens them to everyone, and so do the other tools unless they are asked for this.
    """

    rows: int = 0
    moved: bool = False
    nodes: int = NODES
    by_node: bool = False

    @property
    def more_ports(self) -> list[str]:
        """The ports of the rows beyond those of the script."""
        first = 30000 if self.moved else 20000
        return [f"{first + 2 * number}/tcp" for number in range(self.rows)]

    @property
    def ports(self) -> list[str]:
        """Every port that is open."""
        return [*script_ports(), *self.more_ports]

    @property
    def former_ports(self) -> list[str]:
        """The ports that a moved row had before."""
        return Rules(self.rows).more_ports if self.moved else []

    @property
    def addresses(self) -> list[str]:
        """The addresses of the nodes."""
        return [address_of(number) for number in range(1, self.nodes + 1)]


def script_ports() -> list[str]:
    """The ports of the source's script."""
    return list(dict.fromkeys(_arguments("--add-port")))


def script_rich_rules() -> list[str]:
    """The rich rules of the source's script."""
    return list(_arguments("--add-rich-rule"))


def _arguments(option: str) -> list[str]:
    lines = SCRIPT.read_text().splitlines()
    return [line.split(f"{option}=")[1].strip("'") for line in lines if f"{option}=" in line]


def tables_of() -> dict[str, Any]:
    """Return both tables as they are in pillar."""
    tables = CHECKOUT / "pillar" / "k3s" / "tables"
    ports = {name: yaml.safe_load((tables / f"{name}.yaml").read_text()) for name in _TABLES}
    return {"ports": ports}


def pillar_of(nodes: int, rules: Rules = Rules()) -> dict[str, Any]:
    """Return both tables and the nodes of a cluster: three servers, the rest agents."""
    pillar = tables_of()
    for port in rules.more_ports:
        number, protocol = port.split("/")
        name = f"row{(int(number) % 10000) // 2}"
        pillar["ports"]["manager"][name] = {"protocol": protocol, "port": int(number)}
    return {
        **pillar,
        "nodes": {
            f"s{number}" if number <= 3 else f"a{number}": {
                "role": "server" if number <= 3 else "agent",
                "addresses": [address_of(number)],
            }
            for number in range(1, nodes + 1)
        },
    }


def address_of(number: int) -> str:
    """The address of a node; of many nodes, in the network that is reserved for benchmarks."""
    if number <= 80:
        return f"192.0.2.{10 + number}"
    return f"198.18.{number // 250}.{number % 250 + 1}"
