"""Read one zone of the operator in both layers, and remove single ports and rules from it.

Each is removed by a call of its own, so that what others add or remove meanwhile is not touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from k3sfw_engine.errors import EngineError, FirewalldRefused
from k3sfw_engine.firewalld import messages
from k3sfw_engine.firewalld.dbus import CONFIG_PATH, Bus, Call
from k3sfw_engine.firewalld.permanent import read_permanent
from k3sfw_engine.firewalld.runtime import runtime_object
from k3sfw_engine.firewalld.service_definitions import open_ports, read_services
from k3sfw_engine.model.firewall_objects import FirewalldObject, Item, Kind, make_object
from k3sfw_engine.model.port_ranges import ZonePort
from k3sfw_engine.model.rich_rules import RichRule, Rule
from k3sfw_engine.plan.steps import Elements
from k3sfw_engine.plan.superseded_script_rules import PORTS, RULES

# firewalld's answers if another program was faster; the read-back decides.
_ALREADY_SO = ("NOT_ENABLED", "ALREADY_ENABLED")


@dataclass(frozen=True)
class Zone:
    """A zone, permanently and at runtime.

    services
        The ports that its services open at runtime.
    """

    name: str
    layers: Mapping[str, FirewalldObject]
    services: Mapping[str, tuple[ZonePort, ...]]

    @property
    def also_open(self) -> frozenset[Item]:
        """What the kernel rightly accepts by a service or a rich rule of the zone at runtime."""
        by_services = (str(port) for ports in self.services.values() for port in ports)
        by_rules = (item for rule in self.layers["runtime"].rules for item in _accepted_by(rule))
        return frozenset([*by_services, *by_rules])


def _accepted_by(rule: Rule) -> Iterator[Item]:
    """The port, and the plain rule, that this one accepts as well.

    The kernel has the verdict of a rule that also logs in the same words as a port or a rule of the
    script, and firewalld keeps one for both.
    """
    attributes = {part.name: part.attributes for part in rule.parts if not part.negated}
    port, source = attributes.get("port", {}), attributes.get("source", {})
    family = attributes.get("rule", {}).get("family", "")
    if port:
        yield f"{port.get('port', '')}/{port.get('protocol', '')}"
    if family and "address" in source:
        yield RichRule(int(family[-1]), address=source["address"])


def read_zone(bus: Bus, name: str | None = None) -> Zone:
    """Read the zone of this name, or firewalld's default zone.

    Raises ``EngineError`` if there is none, or if firewalld does not know its file as it is.
    """
    default, zones = bus.call_all([Call("getDefaultZone"), Call("getZones", "zone")])
    for answer in (default, zones):
        if isinstance(answer, FirewalldRefused):
            raise answer
    name = default if name is None else name
    if name not in zones:
        raise EngineError([messages.no_such_zone(name, zones, default)])
    answer = bus.call(Call("getZoneSettings2", "zone", "s", (name,)))
    runtime = runtime_object(Kind.ZONE, name, answer)
    layers = {"permanent": _permanent(bus, name), "runtime": runtime}
    named = runtime.items("services")
    services = read_services(bus, named)
    return Zone(name, layers, {each: tuple(open_ports(services[each])) for each in named})


def take_out(bus: Bus, name: str, layer: str, elements: Elements) -> None:
    """Remove these ports and rules from one layer of a zone.

    Raises ``FirewalldRefused`` at the first that firewalld refuses, ``FirewalldUnavailable`` if it
    does not answer.
    """
    path = _permanent_path(bus, name) if layer == "permanent" and elements else None
    for answer in bus.call_all(_calls(name, path, elements)):
        if isinstance(answer, FirewalldRefused) and not answer.error.startswith(_ALREADY_SO):
            raise answer


def without(zone: FirewalldObject, elements: Elements) -> FirewalldObject:
    """Return the zone without these ports and rules."""
    return zone.with_settings(
        {
            setting: tuple(item for item in zone.listed(setting) if item not in going)
            for setting, going in elements.items()
        }
    )


def has_all(zone: FirewalldObject, of: FirewalldObject, setting: str) -> bool:
    """Whether a zone has all items of another in this setting; of a single value, the same."""
    have, want = zone.settings[setting], of.settings[setting]
    if isinstance(have, tuple) and isinstance(want, tuple):
        return set(want) <= set(have)
    return have == want


def _calls(name: str, path: str | None, elements: Elements) -> Iterator[Call]:
    for item in elements.get(PORTS, ()):
        port, _slash, protocol = str(item).partition("/")
        yield _call("removePort", name, path, port, protocol)
    for item in elements.get(RULES, ()):
        yield _call("removeRichRule", name, path, str(item))


def _call(method: str, name: str, path: str | None, *words: str) -> Call:
    if path is not None:
        return Call(method, "config.zone", "s" * len(words), words, path=path)
    return Call(method, "zone", "s" * (1 + len(words)), (name, *words))


def _permanent_path(bus: Bus, name: str) -> str:
    return str(bus.call(Call("getZoneByName", "config", "s", (name,), path=CONFIG_PATH)))


def _permanent(bus: Bus, name: str) -> FirewalldObject:
    """Return the permanent zone as firewalld has it in memory, which is what it would write.

    Its file must hold the same: firewalld sees an edit five seconds late, and would undo it.
    """
    key = (Kind.ZONE, name)
    found = read_permanent()
    in_file = {**found.others, **found.objects}.get(key)
    try:
        answer = bus.call(Call("getSettings2", "config.zone", path=_permanent_path(bus, name)))
    except FirewalldRefused as refused:
        if "INVALID_ZONE" in refused.error and in_file is None:
            return make_object(*key, {})  # At runtime only: its file was deleted.
        raise
    known = runtime_object(*key, answer)
    if in_file is None or _comparable(in_file) != _comparable(known):
        raise EngineError([messages.zone_file_differs(name)])
    return known


def _comparable(zone: FirewalldObject) -> dict[str, Any]:
    """What file and D-Bus show alike: of rules of other forms and of sources, only the number."""
    rules = [rule for rule in zone.rules if isinstance(rule, RichRule)]
    return {
        **zone.settings,
        "short": "",
        "description": "",
        "sources": len(zone.items("sources")),
        RULES: (len(zone.rules), rules),
    }
