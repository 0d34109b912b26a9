"""A masterless node on the system that ``K3SFW_ROOT`` names, booted by its own systemd.

Its firewalld is not installed yet.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.booted.booted_host import BootedHost
from lab.daemons import CHECKOUT
from tests.compatibility.distributions import SALT

_SALT_CALL = f"/{SALT}/salt-call"
# The neighbour has both: it is a peer by one address, and a host outside by the other.
PEER = "192.0.2.21"
OUTSIDE = "192.0.2.99"

_NODES = {
    "s1": {"role": "server", "addresses": ["192.0.2.11", "2001:db8::11"]},
    "a1": {"role": "agent", "addresses": [PEER]},
}
_MINION = {
    "id": "s1",
    "file_client": "local",
    "file_roots": {"base": [str(CHECKOUT / "salt")]},
    "pillar_roots": {"base": ["/srv/pillar", str(CHECKOUT / "pillar")]},
    "log_level_logfile": "warning",
}
_ASK = """
import errno, socket, sys
one = socket.socket()
one.settimeout(3)
one.bind((sys.argv[1], 0))
print(errno.errorcode.get(one.connect_ex((sys.argv[2], int(sys.argv[3]))), "open"))
"""


@contextmanager
def standing() -> Iterator[Node]:
    """The node for as long as the block lasts, its modules synced."""
    with BootedHost(base=Path(os.environ["K3SFW_ROOT"])) as host:
        host.boot()
        host.path("/etc/salt").mkdir(exist_ok=True)
        host.path("/etc/salt/minion").write_text(json.dumps(_MINION))
        site = host.path("/srv/pillar/k3s/site.sls")
        site.parent.mkdir(parents=True)
        site.write_text(json.dumps({"k3s": {"nodes": _NODES}}))
        node = Node(host)
        node.add_peer()
        node.call("saltutil.sync_all")
        yield node


class Node:
    """The host as an operator uses it who is logged in there."""

    def __init__(self, host: BootedHost) -> None:
        """Take a booted host."""
        self.host = host

    def add_peer(self) -> None:
        """Give the neighbour the address of the peer besides its own."""
        self.host.neighbour.run(["ip", "addr", "add", f"{PEER}/24", "dev", "eth0"])

    def reboot(self) -> None:
        """Shut down and boot again; the link to the neighbour is a new one then."""
        self.host.reboot()
        self.add_peer()

    def call(self, function: str, *arguments: str):
        """Return what a function returns."""
        command = [_SALT_CALL, "--local", "--out=json", function, *arguments]
        done = self.host.run(command, check=False, timeout=300)
        try:
            return json.loads(done.stdout)["local"]
        except ValueError:
            raise AssertionError(f"{function}: {done.stdout}{done.stderr}") from None

    def apply(self, *arguments: str) -> dict[str, dict]:
        """Return the results of the states of ``k3s.firewall``, by their ids."""
        return self.states("k3s.firewall", *arguments)

    def states(self, sls: str, *arguments: str) -> dict[str, dict]:
        """Return the results of an SLS, by the ids of its states."""
        returned = self.call("state.apply", sls, *arguments)
        assert isinstance(returned, dict), returned
        return {state["__id__"]: state for state in returned.values()}

    def run(self, *command: str) -> str:
        """Return what a command on the node prints."""
        return self.host.run(command).stdout

    def answers(self, source: str, port: int) -> str:
        """Return what a new connection from this address meets: open, or an error's name."""
        command = [sys.executable, "-c", _ASK, source, self.host.ipv4, str(port)]
        return self.host.neighbour.run(command).stdout.strip()

    def kernel_rules(self) -> str:
        """Return the rules that the kernel has."""
        return self.run("nft", "list", "ruleset")
