"""What others changed at runtime only: read before a reload, restored after it.

A reload makes runtime equal to the permanent configuration. Where an object of others differed
before, additions and removals are repeated. Two things are lost: a rule with a timeout comes back
without one, as firewalld does not tell the remaining time; and a new permanent object of others
that was not active yet becomes active.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from k3sfw_engine.errors import FirewalldRefused
from k3sfw_engine.firewalld import messages
from k3sfw_engine.firewalld.dbus import CONFIG_PATH, Bus, Call, those_known
from k3sfw_engine.firewalld.permanent import Permanent
from k3sfw_engine.firewalld.runtime import runtime_object
from k3sfw_engine.model.firewall_objects import Key, Kind, Objects
from k3sfw_engine.standalone.undo.restore_runtime import DIRECT, Snapshot, restoring

_Variants = Mapping[str, tuple[str, Any]]

_PERMANENT_GETTERS = {
    Kind.ZONE: ("getZoneByName", "config.zone", "getSettings2"),
    Kind.POLICY: ("getPolicyByName", "config.policy", "getSettings"),
}


@dataclass(frozen=True)
class ForeignRuntime:
    """The runtime objects that are not ours, as firewalld returned them."""

    zones: Mapping[str, _Variants]
    policies: Mapping[str, _Variants]
    ipsets: Mapping[str, list[str]]
    direct: Mapping[str, tuple[Any, ...]]

    @property
    def snapshot(self) -> Snapshot:
        """The same as plain data."""
        return vars(self)


def read_foreign_runtime(bus: Bus, ours: frozenset[Key]) -> ForeignRuntime:
    """Read all runtime objects that are not ours."""
    zones, policies, ipsets = bus.call_all(
        [Call("getZones", "zone"), Call("getPolicies", "policy"), Call("getIPSets", "ipset")]
    )
    return _read(
        bus,
        _foreign(Kind.ZONE, zones, ours),
        _foreign(Kind.POLICY, policies, ours),
        _foreign(Kind.IPSET, ipsets, ours),
    )


def have_only_what_a_reload_keeps(bus: Bus, ours: frozenset[Key], permanent: Permanent) -> bool:
    """Whether a reload changes nothing that others have at runtime, not even for a moment."""
    now = read_foreign_runtime(bus, ours)
    if now.ipsets or any(now.direct.values()):
        return False
    zones = {name: now.zones[name] for name in _changed(Kind.ZONE, now.zones, permanent.others)}
    if permanent.default in zones:
        # An interface is in it without a binding, too.
        settings = {**zones[permanent.default], "interfaces": ("as", [])}
        zones[permanent.default] = settings
    policies = {
        name: now.policies[name] for name in _changed(Kind.POLICY, now.policies, permanent.others)
    }
    loaded = {
        "zones": _permanent_settings(bus, Kind.ZONE, zones),
        "policies": _permanent_settings(bus, Kind.POLICY, policies),
        "ipsets": {},
        "direct": {},
    }
    return (
        loaded["zones"].keys() == zones.keys()
        and loaded["policies"].keys() == policies.keys()
        and not list(restoring({**loaded, "zones": zones, "policies": policies}, loaded))
    )


def _permanent_settings(bus: Bus, kind: Kind, names: Iterable[str]) -> dict[str, _Variants]:
    """What firewalld has of these permanent objects, in the form of its runtime settings."""
    find, interface, read = _PERMANENT_GETTERS[kind]
    found = (Call(find, "config", "s", (name,), path=CONFIG_PATH) for name in names)
    paths = those_known(bus, names, found)
    return those_known(bus, paths, (Call(read, interface, path=path) for path in paths.values()))


def read_again(bus: Bus, before: ForeignRuntime, permanent: Objects) -> ForeignRuntime:
    """Read again what a reload can have changed: objects that differed from their files.

    permanent
        The zones and policies of others, as their files were before the reload.
    """
    return _read(
        bus,
        _changed(Kind.ZONE, before.zones, permanent),
        _changed(Kind.POLICY, before.policies, permanent),
        list(before.ipsets),
    )


def _changed(kind: Kind, found: Mapping[str, _Variants], permanent: Objects) -> list[str]:
    return [
        name
        for name, answer in found.items()
        if permanent.get((kind, name)) != runtime_object(kind, name, answer)
    ]


def put_back(bus: Bus, before: ForeignRuntime, after: ForeignRuntime) -> tuple[str, ...]:
    """Restore the runtime objects of others; return sentences about what failed."""
    failed = []
    for interface, method, signature, arguments in restoring(before.snapshot, after.snapshot):
        call = Call(method, interface, signature, arguments)
        (answer,) = bus.call_all([call])
        if isinstance(answer, FirewalldRefused):
            typed = f"{call.method} {' '.join(map(str, call.arguments))}"
            failed.append(str(messages.not_restored(typed, answer.error)))
    return tuple(failed)


def _foreign(kind: Kind, names: Any, ours: frozenset[Key]) -> list[str]:
    if isinstance(names, FirewalldRefused):
        raise names
    return [name for name in names if (kind, name) not in ours]


def _read(bus: Bus, zones: list[str], policies: list[str], ipsets: list[str]) -> ForeignRuntime:
    calls = [
        *(Call("getZoneSettings2", "zone", "s", (name,)) for name in zones),
        *(Call("getPolicySettings", "policy", "s", (name,)) for name in policies),
        *(Call("getEntries", "ipset", "s", (name,)) for name in ipsets),
        *(Call(methods[0], "direct") for methods in DIRECT.values()),
    ]
    # Nothing can be restored in an object that is gone, in an ipset whose entries have timeouts
    # (firewalld does not return them), or in the direct interface once firewalld drops it.
    answers: Iterator[Any] = (
        None if isinstance(answer, FirewalldRefused) else answer for answer in bus.call_all(calls)
    )

    def by_name(names: Iterable[str]) -> dict[str, Any]:
        found = {name: next(answers) for name in names}
        return {name: answer for name, answer in found.items() if answer is not None}

    return ForeignRuntime(
        zones=by_name(zones),
        policies=by_name(policies),
        ipsets=by_name(ipsets),
        direct={what: tuple(next(answers) or ()) for what in DIRECT},
    )
