"""firewalld's services with everything that they include: from D-Bus, else from their files."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from k3sfw_engine.firewalld.dbus import Bus, Call, those_known
from k3sfw_engine.firewalld.permanent import FOLDERS
from k3sfw_engine.model.port_ranges import ZonePort, parse_port
from k3sfw_engine.model.zones import ServiceDefinition


def read_services(bus: Bus | None, names: Iterable[str]) -> dict[str, ServiceDefinition]:
    """Read services by name, and all that they include.

    One that firewalld has not loaded is read from its file; without a bus, all are.
    """
    read: dict[str, Mapping[str, Any]] = {}
    ahead = sorted(set(names))
    while ahead:
        calls = [Call("getServiceSettings2", signature="s", arguments=(name,)) for name in ahead]
        answers = those_known(bus, ahead, calls) if bus else {}
        for name in ahead:
            read[name] = _plain(answers[name]) if name in answers else _service_file(name)
        ahead = sorted(
            {each for name in ahead for each in read[name].get("includes", ())} - set(read)
        )
    return {name: _complete(name, read) for name in read}


def open_ports(service: ServiceDefinition) -> Iterator[ZonePort]:
    """Return the ports that a service opens, as far as the tables can have them."""
    for text in service.ports:
        try:
            yield parse_port(text)
        except ValueError:
            continue  # A protocol without ports, or one that no row can have.


def _plain(variants: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, (_signature, value) in variants.items()}
    for name in ("ports", "source_ports"):
        plain[name] = ["/".join(each) for each in plain.get(name, ())]
    return plain


def _service_file(name: str) -> Mapping[str, Any]:
    """What the file of a service says; empty without a file."""
    for folder in FOLDERS:
        try:
            root = ElementTree.fromstring((folder / f"services/{name}.xml").read_bytes())
        except (ElementTree.ParseError, OSError):
            continue
        ports = {
            setting: [f"{e.get('port', '')}/{e.get('protocol', '')}" for e in root.iter(tag)]
            for tag, setting in (("port", "ports"), ("source-port", "source_ports"))
        }
        return {
            **ports,
            "protocols": [each.get("value", "") for each in root.iter("protocol")],
            "includes": [each.get("service", "") for each in root.iter("include")],
        }
    return {}


def _complete(name: str, read: Mapping[str, Mapping[str, Any]]) -> ServiceDefinition:
    every, ahead = {name}, [name]
    while ahead:
        more = set(read.get(ahead.pop(), {}).get("includes", ())) - every
        every |= more
        ahead += more

    def all_of(setting: str) -> tuple[str, ...]:
        return tuple(sorted({text for n in every for text in read.get(n, {}).get(setting, ())}))

    return ServiceDefinition(all_of("ports"), all_of("protocols"), all_of("source_ports"))
