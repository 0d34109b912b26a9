"""Observe firewalld, and carry out the steps that change its runtime configuration.

For speed, one observation reads all layers at once: runtime over D-Bus, the permanent files and
the kernel's rules. ``permanent.py`` writes the files; this module makes firewalld check them and
tells it at once of changed zones.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from k3sfw_engine.errors import EngineError, FirewalldFailed, FirewalldRefused, FirewalldUnavailable
from k3sfw_engine.firewalld import messages
from k3sfw_engine.firewalld.dbus import CONFIG_PATH, LIST_SIGNATURES, PROPERTIES, SERVICE, Bus, Call
from k3sfw_engine.firewalld.defaults import (
    FEW_IPSETS,
    NOTICE_POLL,
    NOTICE_SECONDS,
    RELOAD_SECONDS,
    SECONDS_PER_ENTRY,
    SECONDS_PER_RULE,
)
from k3sfw_engine.firewalld.file_copies import known
from k3sfw_engine.firewalld.kernel_rules import Listing, remove_unused_tables, restore_tables
from k3sfw_engine.firewalld.permanent import Permanent, read_permanent
from k3sfw_engine.model.firewall_objects import (
    DEFAULTS,
    PREFIX,
    RUNTIME_SETTINGS,
    ZONE,
    FirewalldObject,
    Key,
    Kind,
    Objects,
    Settings,
    Value,
    by_key,
    is_ours,
    make_object,
    read_plain,
)
from k3sfw_engine.model.zone_bindings import Bindings
from k3sfw_engine.plan.desired.ipsets import is_ipset_as_made
from k3sfw_engine.plan.kernel_drift import KernelRules, kernel_drift
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.steps import (
    ChangeEntries,
    RefillEntries,
    Reload,
    RemovePermanent,
    SetRuntime,
    Step,
    TakeOutOfZone,
    WritePermanent,
)
from k3sfw_engine.standalone.undo.restore_runtime import DIRECT, Snapshot

_RUNTIME_GETTERS = {
    Kind.IPSET: ("ipset", "getIPSetSettings"),
    Kind.ZONE: ("zone", "getZoneSettings2"),
    Kind.POLICY: ("policy", "getPolicySettings"),
}
_RUNTIME_SETTERS = {
    Kind.ZONE: ("zone", "setZoneSettings2"),
    Kind.POLICY: ("policy", "setPolicySettings"),
}


def observe(bus: Bus) -> Observed:
    """Read what firewalld has at runtime and permanently, and what the kernel has of it.

    Raises ``FirewalldUnavailable`` if firewalld is not in a usable state.
    """
    # A firewalld that starts or reloads is on the bus, but has not made its rules yet. Once it
    # answers, it has; a listing that was begun before would show their absence as drift.
    state = Call("Get", PROPERTIES, "ss", (SERVICE, "state"))
    refuse_unusable(*bus.call_all([state, Call("queryPanicMode")]))
    with Listing() as listing:
        first = bus.begin([Call("getActiveZones", "zone"), Call("getPolicies", "policy")])
        permanent = read_permanent()
        # Objects with a file are most likely all there are, so all are asked for at once.
        likely = [(Kind.ZONE, ZONE), *(key for key in permanent.objects if key[0] is Kind.POLICY)]
        second = bus.begin(_runtime_call(*key) for key in likely)
        active, policies = bus.collect(first)
        active, settings = _answered(active), bus.collect(second)
        kernel = listing.rules() if permanent.nftables else None
        runtime = {
            **_ipsets_as_the_kernel_shows(permanent.objects, kernel),
            **_those_there(likely, settings),
        }
        unread = {
            *(key for key in permanent.objects if key[0] is Kind.IPSET),
            *((Kind.IPSET, name) for name in _ipset_names(bus, kernel)),
            *((Kind.POLICY, name) for name in _policy_names(policies)),
        }.difference(runtime)
        answers = bus.call_all(_runtime_call(*key) for key in unread)
        runtime = {**runtime, **_those_there(unread, answers)}
        return Observed(
            runtime=by_key(runtime.values()),
            permanent=permanent.objects,
            damaged=permanent.damaged,
            kept=known(permanent.damaged),
            bindings={
                "runtime": _bindings(active),
                "permanent": permanent.bindings,
            },
            zones=permanent.zones,
            users=permanent.users,
            other_zones_drop=_zones_of_others_drop(bus, permanent, active),
            kernel=kernel,
        )


def _zones_of_others_drop(bus: Bus, permanent: Permanent, active: Iterable[str]) -> bool:
    """Whether every zone in use but ours drops, in the files and in force.

    What is only in the files may be half of what the operator wants to write before a reload.
    """
    if not permanent.zones_of_others_drop(active):
        return False
    keys = [(Kind.ZONE, name) for name in sorted(permanent.zones_of_others(active))]
    in_force = _those_there(keys, bus.call_all(_runtime_call(*key) for key in keys))
    return len(in_force) == len(keys) and all(
        zone.settings["target"] == "DROP" for zone in in_force.values()
    )


def _ipsets_as_the_kernel_shows(permanent: Objects, kernel: KernelRules | None) -> Objects:
    """Return the ipsets that need no call: the kernel has exactly the entries of their file.

    Only the entries of a runtime ipset can change, and the kernel has those. A call takes firewalld
    two milliseconds, and a node has eight ipsets and more.
    """
    if kernel is None:
        return {}
    ipsets = {
        key: each for key, each in permanent.items() if is_ours(each) and is_ipset_as_made(each)
    }
    differing = kernel_drift(kernel, ipsets).names
    return {key: each for key, each in ipsets.items() if key[1] not in differing}


def _policy_names(answer: Any) -> list[str]:
    if isinstance(answer, FirewalldRefused):
        raise FirewalldUnavailable(messages.has_no_policies(answer.error))
    return [name for name in answer if name.startswith(PREFIX)]


def _ipset_names(bus: Bus, kernel: KernelRules | None) -> list[str]:
    if kernel is not None and kernel.table:
        return sorted(kernel.ipsets)
    return [name for name in bus.call(Call("getIPSets", "ipset")) if name.startswith(PREFIX)]


def _those_there(keys: Iterable[Key], answers: Iterable[Any]) -> dict[Key, FirewalldObject]:
    """The runtime objects of these names that firewalld knows."""
    return {
        key: runtime_object(*key, answer)
        for key, answer in zip(keys, answers)
        if not isinstance(answer, FirewalldRefused)
    }


def observe_again(bus: Bus, before: Observed, touched: Collection[Key]) -> Observed:
    """Read these runtime objects again; all others were read a moment ago."""
    ipsets = [name for kind, name in touched if kind is Kind.IPSET]
    some = ipsets if len(ipsets) == len(touched) <= FEW_IPSETS else []
    kernel = before.kernel
    with nullcontext() if kernel is None else Listing(some) as listing:
        answers = bus.call_all(_runtime_call(*key) for key in touched)
        if listing is not None and kernel is not None:
            kernel = kernel.with_ipsets(some, listing.rules()) if some else listing.rules()
    return replace(
        before,
        runtime=by_key({**before.runtime, **_those_there(touched, answers)}.values()),
        kernel=kernel,
    )


def _runtime_call(kind: Kind, name: str) -> Call:
    interface, method = _RUNTIME_GETTERS[kind]
    return Call(method, interface, "s", (name,))


def check_permanent(bus: Bus) -> None:
    """Let firewalld check its whole permanent configuration, as it is on disk.

    Before 0.9.6 it compares policies with the zones that it has noticed. A reload reads the files.

    Raises ``EngineError`` if it would not load.
    """
    ends_at = time.monotonic() + NOTICE_SECONDS
    while True:
        (answer,) = bus.call_all([Call("checkPermanentConfig")])
        if not isinstance(answer, FirewalldRefused):
            return
        if f"'{ZONE}' not among existing zones" not in answer.error or time.monotonic() > ends_at:
            raise EngineError([messages.would_not_load(answer.error)]) from answer
        time.sleep(NOTICE_POLL)


def tell_zones(bus: Bus, zones: Iterable[FirewalldObject]) -> None:
    """Push these zone settings to firewalld before its file watcher notices them.

    The watcher takes five seconds. Until then firewalld would refuse to bind an interface to
    another zone if it believes it bound to this one. A refusal of the push is ignored: firewalld
    checks its whole permanent configuration first, with the faults that these files are to fix.
    """
    zones = tuple(zones)
    paths = bus.call_all(
        Call("getZoneByName", "config", "s", (each.name,), path=CONFIG_PATH) for each in zones
    )
    bus.call_all(
        Call("update2", "config.zone", "a{sv}", (_variants(each.settings),), path=path)
        for each, path in zip(zones, paths)
        if not isinstance(path, FirewalldRefused)
    )


def refuse_lockdown(bus: Bus) -> None:
    """Raise ``FirewalldUnavailable`` if lockdown keeps this process from changing the runtime.

    Files and reloads are not locked, so that a change would go half the way. What others have only
    at runtime could not be restored after it.
    """
    # Lockdown was removed in 2.2, and a later version may lack the method too.
    (locked,) = bus.call_all([Call("queryLockdown", "policies")])
    if locked is True:
        # Who is allowed is not told. Callers are checked before the name, which no ipset has.
        tried = Call("removeEntry", "ipset", "ss", ("k3sfw-lockdown", "192.0.2.1"))
        (answer,) = bus.call_all([tried])
        if isinstance(answer, FirewalldRefused) and answer.error.startswith("ACCESS_DENIED"):
            raise FirewalldUnavailable(messages.is_locked_down())


def flushes_iptables(bus: Bus) -> bool:
    """Whether a reload flushes the rules that other programs have in iptables."""
    direct = bus.call_all(Call(getter, "direct") for getter, *_others in DIRECT.values())
    if any(answer and not isinstance(answer, FirewalldRefused) for answer in direct):
        return True
    return _version(bus) < (2, 0)


def reload_checks_files(bus: Bus) -> bool:
    """Whether a reload checks all files before it touches a rule."""
    return _version(bus) >= (1, 2)


def _version(bus: Bus) -> tuple[int, int]:
    text = str(_plain(bus.call(Call("Get", PROPERTIES, "ss", (SERVICE, "version")))))
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def execute(bus: Bus, steps: Iterable[Step]) -> None:
    """Carry out the runtime steps, in their order.

    The permanent ones are files: ``firewalld/permanent.py`` writes them.

    Raises ``FirewalldRefused`` at the first step that firewalld refuses.
    """
    for kind, group in groupby(steps, key=type):
        if kind in (WritePermanent, RemovePermanent, TakeOutOfZone):
            continue
        if kind is ChangeEntries:
            _change_entries(bus, (each for each in group if isinstance(each, ChangeEntries)))
        else:
            for step in group:
                _execute_one(bus, step)


def _execute_one(bus: Bus, step: Step) -> None:
    if isinstance(step, SetRuntime):
        kind, name = step.key
        interface, method = _RUNTIME_SETTERS[kind]
        deadline = Call.deadline + step.changed * SECONDS_PER_RULE
        given = (name, _variants(step.settings))
        bus.call(Call(method, interface, "sa{sv}", given, deadline=deadline))
    elif isinstance(step, RefillEntries):
        _refill(bus, step)
    else:
        assert isinstance(step, Reload)
        if step.restore_table:
            restore_tables()
        bus.call(Call("reload", deadline=RELOAD_SECONDS))
        if step.restore_table:
            remove_unused_tables()


@dataclass(frozen=True)
class State:
    """The state that firewalld reports.

    An answer also proves that no reload was going on at that moment: asked during a reload,
    firewalld answers after it.
    """

    name: str
    panic: bool


def read_state(bus: Bus) -> State:
    """Read the state of firewalld.

    Raises ``FirewalldUnavailable`` if it does not answer.
    """
    state, panic = bus.call_all(
        [Call("Get", PROPERTIES, "ss", (SERVICE, "state")), Call("queryPanicMode")]
    )
    return State(str(_plain(_answered(state))), bool(_answered(panic)))


def refuse_unusable(state: Any, panic: Any) -> None:
    """Raise ``FirewalldUnavailable`` unless firewalld is in a usable state."""
    state = _plain(_answered(state))
    if state != "RUNNING":
        raise FirewalldFailed(messages.runs_on_stock_rules(state))
    if _answered(panic):
        raise FirewalldUnavailable(messages.is_in_panic_mode())


def _answered(answer: Any) -> Any:
    if isinstance(answer, EngineError):
        raise answer
    return answer


def _plain(variant: Any) -> Any:
    """The value of a D-Bus variant."""
    return variant[1] if isinstance(variant, tuple) and len(variant) == 2 else variant


def _bindings(active: Mapping[str, Mapping[str, list[str]]]) -> Bindings:
    def zone_of(what: str) -> dict[str, str]:
        return {bound: zone for zone, each in active.items() for bound in each.get(what, ())}

    return Bindings(zone_of("interfaces"), zone_of("sources"))


def snapshot_of(objects: Objects) -> Snapshot:
    """Return what of these runtime objects can be restored without a reload."""

    def settings_of(kind: Kind) -> dict[str, dict[str, tuple[str, Any]]]:
        return {
            name: _variants({key: each.settings[key] for key in sorted(RUNTIME_SETTINGS[kind])})
            for (own_kind, name), each in objects.items()
            if own_kind is kind
        }

    ipsets = {
        name: list(each.items("entries"))
        for (kind, name), each in objects.items()
        if kind is Kind.IPSET
    }
    return {
        "zones": settings_of(Kind.ZONE),
        "policies": settings_of(Kind.POLICY),
        "ipsets": ipsets,
        "direct": {},
    }


def runtime_object(kind: Kind, name: str, answer: Any) -> FirewalldObject:
    """Return the runtime object that firewalld's answer describes."""
    if kind is Kind.IPSET:
        _version, short, description, kind_of_set, options, entries = answer
        return make_object(
            kind,
            name,
            {
                "short": short,
                "description": description,
                "type": kind_of_set,
                "options": tuple(f"{key}={value}" for key, value in options.items()),
                "entries": tuple(entries),
            },
        )
    plain = {
        setting: _joined(_plain(variant))
        for setting, variant in answer.items()
        if setting in DEFAULTS[kind]
    }
    return make_object(kind, name, read_plain(kind, plain))


def _joined(value: Any) -> Any:
    """Join every item of a list to one text: a port and its protocol to ``22/tcp``."""
    if not isinstance(value, list):
        return value
    return [item if isinstance(item, str) else "/".join(filter(None, item)) for item in value]


def _variants(settings: Settings) -> dict[str, tuple[str, Any]]:
    return {setting: _variant(setting, value) for setting, value in settings.items()}


def _variant(setting: str, value: Value) -> tuple[str, Any]:
    if isinstance(value, bool):
        return ("b", value)
    if isinstance(value, int):
        return ("i", value)
    if isinstance(value, str):
        return ("s", value)
    signature = LIST_SIGNATURES.get(setting)
    if signature is None:
        return ("as", list(map(str, value)))
    return (signature, [_parts(str(item), signature.count("s")) for item in value])


def _parts(text: str, count: int) -> tuple[str, ...]:
    """Split ``port/protocol``, or ``port/protocol/to-port/to-address`` where either may lack."""
    port, protocol, *to = text.split("/")
    to_port = [part for part in to if part.replace("-", "").isdigit()]
    to_address = [part for part in to if part not in to_port]
    return (port, protocol, "".join(to_port), "".join(to_address))[:count]


def _refill(bus: Bus, step: RefillEntries) -> None:
    deadline = Call.deadline + len(step.entries) * SECONDS_PER_ENTRY
    arguments = (step.name, list(step.entries))
    (answer,) = bus.call_all([Call("setEntries", "ipset", "sas", arguments, deadline=deadline)])
    if isinstance(answer, FirewalldRefused) and not step.entries:
        # 1.0 fails at a list without entries.
        there = bus.call(Call("getEntries", "ipset", "s", (step.name,)))
        _change_entries(bus, [ChangeEntries(step.name, remove=tuple(there))])
    else:
        _answered(answer)


def _change_entries(bus: Bus, steps: Iterable[ChangeEntries]) -> None:
    calls = [
        Call(method, "ipset", "ss", (step.name, entry))
        for step in steps
        for method, entries in (("addEntry", step.add), ("removeEntry", step.remove))
        for entry in entries
    ]
    for answer in bus.call_all(calls):
        _answered(answer)
