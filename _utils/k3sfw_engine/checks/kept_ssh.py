"""The commands that keep ssh open where a fix moves packets to another zone. Pure.

A zone that accepts everything also accepts ssh. Where its packets are judged next, ssh may be
closed, or be another port than 22: without these commands the fix would cut the operator off.
"""

from __future__ import annotations

from collections.abc import Iterable

from k3sfw_engine.checks.suggested_commands import firewall_cmd
from k3sfw_engine.checks.zone_openings import is_mac, openings
from k3sfw_engine.model.host_facts import HostFacts
from k3sfw_engine.model.rows import Protocol
from k3sfw_engine.model.zones import IPSET, ObservedZones, ServiceDefinition

# What the service has in every firewalld; services are not always read.
_SSH = {"ssh": ServiceDefinition(ports=("22/tcp",))}


def keep_ssh(host: HostFacts, found: ObservedZones, zone: str, layers: Iterable[str]) -> list[str]:
    """Open the ports of ssh in a zone, as far as it does not open them to everyone already."""
    return [
        firewall_cmd(layer, zone, *(f"--add-port={port}/tcp" for port in ports))
        for layer in layers
        if (ports := _closed(host, found, zone, layer))
    ]


def keep_ssh_from(
    source: str, host: HostFacts, found: ObservedZones, zone: str, layers: Iterable[str]
) -> list[str]:
    """Open the ports of ssh to a source of another zone, as far as the zone has them closed."""
    return [
        # The whole command is in single quotes.
        firewall_cmd(layer, zone, f'--add-rich-rule="{_rule(source, port)}"')
        for layer in layers
        for port in _closed(host, found, zone, layer)
    ]


def _closed(host: HostFacts, found: ObservedZones, zone: str, layer: str) -> list[int]:
    """The ports of ssh that a zone does not open to every source."""
    settings = found.layers[layer].zones.get(zone)
    if settings is None:
        return sorted(host.ssh_ports)
    if settings.settings["target"] == "ACCEPT":
        return []
    opened = [
        each.ports
        for each in openings(settings, {**_SSH, **found.services})
        if each.protocol is Protocol.TCP and not each.source
    ]
    return sorted(port for port in host.ssh_ports if not any(port in each for each in opened))


def _rule(source: str, port: int) -> str:
    if source.startswith(IPSET):
        words = f"source ipset={source[len(IPSET) :]}"
    elif is_mac(source):
        words = f"source mac={source}"
    else:
        family = "ipv6" if ":" in source else "ipv4"
        words = f"family={family} source address={source}"
    return f"rule {words} port port={port} protocol=tcp accept"
