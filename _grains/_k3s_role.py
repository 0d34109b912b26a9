"""Decides the role of a host: what its units run, then its data folder; processes contradict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import _k3s_doubts
from ._k3s_processes import Process
from ._k3s_units import Service

# The installers' names. Of any other service it is not known that it runs a node.
_NAMES_OF_NODES = ("k3s", "k3s-agent", "k3s-server")


@dataclass(frozen=True)
class Finding:
    """What a host says of its role.

    role
        Empty if the host is not a node.
    says
        What the strongest source says; empty if none is stronger than the others.
    source
        That source.
    services
        The services that count.
    """

    role: str
    says: str = ""
    source: str = ""
    services: tuple[Service, ...] = ()
    doubts: tuple[str, ...] = ()


def find_role(
    services: Iterable[Service], folders: Sequence[str], data: str, processes: Iterable[Process]
) -> Finding:
    """Find the role of this host; in doubt it is an agent, the lesser right.

    folders
        Which of ``server`` and ``agent`` are in the data folder.
    """
    known = [service for service in services if service.runs or _is_named_as_node(service)]
    counted = [service for service in known if service.enabled] or known
    roles = {run.role for service in counted for run in service.runs}
    unread = [service for service in counted if not service.runs]
    running = {process.role for process in processes}
    names = [service.name for service in counted]
    if len(roles) > 1 or (roles == {"server"} and unread):
        several = len(counted) > 1
        doubt = _k3s_doubts.units_disagree(names) if several else _k3s_doubts.unit_runs_both(*names)
        return Finding("agent", services=tuple(counted), doubts=(doubt,))
    if roles:
        return _checked(roles.pop(), " and ".join(names), running, tuple(counted))
    if folders:
        # A server is also an agent, and has both.
        role = "server" if "server" in folders else "agent"
        if role == "server" and any("agent" in service.name for service in unread):
            doubt = _k3s_doubts.name_disagrees(names[0], f"{data}/server")
            return Finding("agent", services=tuple(counted), doubts=(doubt,))
        return _checked(role, f"{data}/{role}", running, tuple(counted))
    if unread:
        if all("agent" in service.name for service in unread):
            return _checked("agent", " and ".join(names), running, tuple(counted))
        doubt = _k3s_doubts.unit_is_not_understood(" and ".join(names))
        return Finding("agent", services=tuple(counted), doubts=(doubt,))
    if running:
        # Something starts K3s that is none of the known ways: nothing contradicts it.
        role = "server" if running == {"server"} else "agent"
        return Finding(role, role, "its process")
    return Finding("")


def _checked(role: str, source: str, running: set[str], services: tuple[Service, ...]) -> Finding:
    """The role, if no running process contradicts it."""
    others = running - {role}
    if not others:
        return Finding(role, role, source, services)
    other = others.pop()
    doubt = _k3s_doubts.process_disagrees(other, source, role)
    return Finding("agent", other, "a running process", services, (doubt,))


def _is_named_as_node(service: Service) -> bool:
    return service.name.partition(".")[0] in _NAMES_OF_NODES
