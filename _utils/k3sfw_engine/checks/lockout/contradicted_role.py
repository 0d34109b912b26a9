"""A role in pillar that contradicts what is running on the node. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from k3sfw_engine.checks.lockout import messages
from k3sfw_engine.checks.lockout.lockout_check import in_use
from k3sfw_engine.errors import Problem
from k3sfw_engine.model.addresses import entry
from k3sfw_engine.model.critical_processes import CriticalService
from k3sfw_engine.model.live_connections import HostActivity
from k3sfw_engine.model.rows import Role, Tables

_SERVICES = {CriticalService.ETCD: "etcd", CriticalService.API: "an API server"}


def contradicted_role(seen: HostActivity, tables: Tables, role: Role) -> Iterator[Problem]:
    """Compare the role in pillar with what is running.

    Live connections to etcd or the API server prove a server. If K3s is not running, nothing is
    proven.
    """
    live = in_use(replace(seen, ssh_ports=frozenset()), tables)
    of_servers = [each for each in live if each.service in _SERVICES]
    if role is Role.AGENT and of_servers:
        yield messages.role_contradicted_by_services(
            " and ".join(sorted({_SERVICES[each.service] for each in of_servers if each.service})),
            ", ".join(sorted({entry(each.peer) for each in of_servers})),
        )
    elif role is Role.SERVER and seen.k3s_roles == {Role.AGENT}:
        yield messages.role_contradicted_by_agent()
