"""What an operator is told about a plan: why there is none, and what it leaves in place. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from k3sfw_engine.errors import Problem

# -- objects and names of others ------------------------------------------------------------------


def foreign_object(layer: str, title: str) -> Problem:
    return Problem(
        f"the {layer} {title} was not created by k3sfw, so it is left alone",
        "give it a name that does not begin with k3s, or delete it; then apply again",
    )


def unreadable_object(title: str) -> Problem:
    return Problem(
        f"the permanent {title} cannot be read, so it is not known whether k3sfw created it",
        "correct its file below /etc/firewalld: firewall-cmd --check-config says what is wrong",
    )


def used_object(title: str, user: str) -> Problem:
    return Problem(
        f"the {title} cannot be removed, because the permanent {user} refers to it and was not "
        "created by k3sfw",
        f"remove it from {user}, then apply again",
    )


def bound_interface(interface: str, zone: str, beside: Iterable[str]) -> Problem:
    """An interface of pods that the operator bound to another zone.

    beside
        The other interfaces of that zone.
    """
    others = ", ".join(beside)
    spoofed = f". Packets that spoof a pod address are accepted from {others} too" if others else ""
    return Problem(
        f"interface {interface} is bound to zone {zone}, not by k3sfw, and stays there: pods on it "
        f"are accepted by their address{spoofed}",
        f"firewall-cmd --permanent --zone={zone} --remove-interface={interface}; firewall-cmd "
        f"--zone={zone} --remove-interface={interface}; then apply again",
    )


def bound_source(source: str, zone: str) -> Problem:
    return Problem(
        f"source {source} is bound to zone {zone}, not by k3sfw, and stays there: a packet that "
        "spoofs a pod address in it is accepted from any interface",
        f"if the source is for pods, remove it from that zone; firewall-cmd --zone={zone} "
        "--list-all shows it",
    )


# -- what reloads firewalld -----------------------------------------------------------------------


def new_objects(titles: Iterable[str]) -> str:
    return f"new objects exist at runtime only after a reload: {', '.join(titles)}"


def fixed_settings(settings: Iterable[str]) -> str:
    return f"firewalld changes these only with a reload: {', '.join(settings)}"


def many_rules(count: int) -> str:
    return f"{count} rules change, which takes firewalld longer one by one"


OLD_OBJECTS = "objects of an older version are removed only by a reload"
OTHER_KERNEL_RULES = "the kernel has other rules than firewalld believes"
REMOVAL = "runtime objects are removed only by a reload"

# -- the rules of the source document's script ----------------------------------------------------


def stays_open(zone: str, what: str, reason: str, fix: str) -> Problem:
    return Problem(f"zone {zone}: {what} stays open to every source: {reason}", fix)


def open_by_service(zone: str, port: str, service: str) -> Problem:
    typed = firewall_cmd(zone, ("permanent", "runtime"), f"--remove-service={service}")
    return stays_open(
        zone,
        port,
        f"the service {service} of that zone opens it, and services are yours",
        f"if it is not needed, {typed}",
    )


def firewall_cmd(zone: str, layers: Iterable[str], *options: str) -> str:
    """Return the commands that change a zone in these layers."""
    flag = {"permanent": "--permanent "}
    return "; ".join(
        f"firewall-cmd {flag.get(layer, '')}--zone={zone} {' '.join(options)}" for layer in layers
    )
