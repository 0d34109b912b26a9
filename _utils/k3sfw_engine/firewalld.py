"""firewalld, observed and changed. The one place that knows its D-Bus interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

from .bus import CONFIG_PATH, LIST_SIGNATURES, PROPERTIES, SERVICE, Bus, Call
from .desired import ZONE, is_ipset_as_made
from .difference import Observed
from .errors import EngineError, FirewalldRefused, FirewalldUnavailable
from .kernel import KernelRules, kernel_drift
from .nft import Listing, restore_table
from .objects import (
    DEFAULTS,
    PREFIX,
    FirewalldObject,
    Key,
    Kind,
    Objects,
    Settings,
    Value,
    by_key,
    is_ours,
    make_object,
)
from .permanent import read_permanent, remove_backups
from .steps import (
    ChangeEntries,
    RefillEntries,
    Reload,
    RemovePermanent,
    SetRuntime,
    Step,
    WritePermanent,
)

# Measured: 1.2 s with 10,000 entries in ipsets, more than 25 s with 100,000.
RELOAD_DEADLINE = 120.0
_SECONDS_PER_ENTRY = 0.002

_RUNTIME_GETTERS = {
    Kind.IPSET: ("ipset", "getIPSetSettings"),
    Kind.ZONE: ("zone", "getZoneSettings2"),
    Kind.POLICY: ("policy", "getPolicySettings"),
}
_RUNTIME_SETTERS = {
    Kind.ZONE: ("zone", "setZoneSettings2"),
    Kind.POLICY: ("policy", "setPolicySettings"),
}
# In the permanent configuration: how an object is found, added and updated.
_PERMANENT_METHODS = {
    Kind.IPSET: ("getIPSetByName", "addIPSet", "update"),
    Kind.ZONE: ("getZoneByName", "addZone2", "update2"),
    Kind.POLICY: ("getPolicyByName", "addPolicy", "update"),
}
_IPSET_SIGNATURE = "(ssssa{ss}as)"


def observe(bus: Bus) -> Observed:
    """Read what firewalld has at runtime and permanently, and what the kernel has of it.

    Raises ``FirewalldUnavailable`` if firewalld is not in a state in which its answers count.
    """
    with Listing() as listing:
        first = bus.begin(
            [
                Call("Get", PROPERTIES, "ss", (SERVICE, "state")),
                Call("queryPanicMode"),
                Call("getActiveZones", "zone"),
            ]
        )
        permanent = read_permanent()
        # What has a file is most likely all there is, so it is asked for in the same breath.
        likely = [(Kind.ZONE, ZONE), *(key for key in permanent.objects if key[0] is Kind.POLICY)]
        second = bus.begin(
            [Call("getPolicies", "policy"), *(_runtime_call(*key) for key in likely)]
        )
        state, panic, active = bus.collect(first)
        _refuse_unusable(state, panic)
        policies, *settings = bus.collect(second)
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
            interface_zones={
                "runtime": _interface_zones(_answered(active)),
                "permanent": permanent.interface_zones,
            },
            users=permanent.users,
            kernel=kernel,
        )


def _ipsets_as_the_kernel_shows(permanent: Objects, kernel: KernelRules | None) -> Objects:
    """The ipsets that need no question: the kernel has just the entries of their file.

    All that can change in a runtime ipset are its entries, and those stand in the kernel. A call
    takes firewalld two milliseconds, and a node has eight ipsets and more.
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
        raise FirewalldUnavailable(
            f"this firewalld has no policies ({answer.error})",
            "update it to 0.9 or newer; rules that hold in every zone need them",
        )
    return [name for name in answer if name.startswith(PREFIX)]


def _ipset_names(bus: Bus, kernel: KernelRules | None) -> list[str]:
    if kernel is not None and kernel.table:
        return sorted(kernel.ipsets)
    return [name for name in bus.call(Call("getIPSets", "ipset")) if name.startswith(PREFIX)]


def _those_there(keys: Iterable[Key], answers: Iterable[Any]) -> dict[Key, FirewalldObject]:
    """The runtime objects of these names, without those that firewalld does not know."""
    return {
        key: runtime_object(*key, answer)
        for key, answer in zip(keys, answers)
        if not isinstance(answer, FirewalldRefused)
    }


def observe_again(
    bus: Bus, before: Observed, runtime_steps: Iterable[Step], listing: Listing
) -> Observed:
    """Read what these steps have touched once more; what they have not was read a moment ago.

    listing
        Of the kernel's rules, begun after the last of the steps.
    """
    touched = {
        step.key if isinstance(step, SetRuntime) else (Kind.IPSET, step.name)
        for step in runtime_steps
        if isinstance(step, (SetRuntime, ChangeEntries, RefillEntries))
    }
    permanent = read_permanent()
    kernel = None if before.kernel is None else listing.rules()
    shown = _ipsets_as_the_kernel_shows(permanent.objects, kernel)
    unread = touched.difference(shown)
    read = _those_there(unread, bus.call_all(_runtime_call(*key) for key in unread))
    return replace(
        before,
        runtime=by_key({**before.runtime, **shown, **read}.values()),
        permanent=permanent.objects,
        damaged=permanent.damaged,
        users=permanent.users,
        kernel=kernel,
    )


def _runtime_call(kind: Kind, name: str) -> Call:
    interface, method = _RUNTIME_GETTERS[kind]
    return Call(method, interface, "s", (name,))


def check_permanent(bus: Bus) -> None:
    """Have firewalld judge all of its permanent configuration, as it lies on the disk.

    Raises ``EngineError`` if it would not load.
    """
    try:
        bus.call(Call("checkPermanentConfig"))
    except FirewalldRefused as refused:
        raise EngineError(
            [
                f"firewalld's permanent configuration would not load: {refused.error}. Nothing was "
                "changed, and firewalld was not reloaded. Mend: correct what firewall-cmd "
                "--check-config names, then apply again"
            ]
        ) from refused


def execute(bus: Bus, steps: Iterable[Step]) -> None:
    """Carry steps out in their order.

    Raises ``FirewalldRefused`` at the first that firewalld refuses.
    """
    for kind, group in groupby(steps, key=type):
        if kind is WritePermanent:
            _write_permanent(bus, (each for each in group if isinstance(each, WritePermanent)))
        elif kind is ChangeEntries:
            _change_entries(bus, (each for each in group if isinstance(each, ChangeEntries)))
        else:
            for step in group:
                _execute_one(bus, step)


def _execute_one(bus: Bus, step: Step) -> None:
    if isinstance(step, RemovePermanent):
        _remove_permanent(bus, *step.key)
    elif isinstance(step, SetRuntime):
        kind, name = step.key
        interface, method = _RUNTIME_SETTERS[kind]
        bus.call(Call(method, interface, "sa{sv}", (name, _variants(step.settings))))
    elif isinstance(step, RefillEntries):
        deadline = Call.deadline + len(step.entries) * _SECONDS_PER_ENTRY
        arguments = (step.name, list(step.entries))
        bus.call(Call("setEntries", "ipset", "sas", arguments, deadline=deadline))
    else:
        assert isinstance(step, Reload)
        if step.restore_table:
            restore_table()
        bus.call(Call("reload", deadline=RELOAD_DEADLINE))


def _refuse_unusable(state: Any, panic: Any) -> None:
    state = _plain(_answered(state))
    if state != "RUNNING":
        raise FirewalldUnavailable(
            f"firewalld is in state {state}: it runs on stock rules, because its permanent "
            "configuration did not load",
            "firewall-cmd --check-config and journalctl -u firewalld name the file; correct it, "
            "then systemctl restart firewalld",
        )
    if _answered(panic):
        raise FirewalldUnavailable(
            "firewalld is in panic mode: somebody has cut this host off on purpose",
            "firewall-cmd --panic-off, once the reason is gone; then apply again",
        )


def _answered(answer: Any) -> Any:
    if isinstance(answer, EngineError):
        raise answer
    return answer


def _plain(variant: Any) -> Any:
    """The value of a D-Bus variant."""
    return variant[1] if isinstance(variant, tuple) and len(variant) == 2 else variant


def _interface_zones(active: Mapping[str, Mapping[str, list[str]]]) -> dict[str, str]:
    return {
        interface: zone
        for zone, bindings in active.items()
        for interface in bindings.get("interfaces", ())
    }


def runtime_object(kind: Kind, name: str, answer: Any) -> FirewalldObject:
    """What firewalld answered about a runtime object."""
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
    settings = {
        setting: _value(_plain(variant))
        for setting, variant in answer.items()
        if setting in DEFAULTS[kind]
    }
    return make_object(kind, name, settings)


def _value(value: Any) -> Value:
    if isinstance(value, list):
        return tuple(
            item if isinstance(item, str) else "/".join(filter(None, item)) for item in value
        )
    assert isinstance(value, (str, int))
    return value


def _variants(settings: Settings) -> dict[str, tuple[str, Any]]:
    return {setting: _variant(setting, value) for setting, value in settings.items()}


def _variant(setting: str, value: Value) -> tuple[str, Any]:
    if isinstance(value, bool):
        return ("b", value)
    if isinstance(value, int):
        return ("i", value)
    if isinstance(value, str):
        return ("s", value)
    signature = LIST_SIGNATURES.get(setting, "as")
    # An object of ours never has ports of its own; what others put there is only ever taken away.
    assert signature == "as" or not value, setting
    return (signature, list(value))


def _write_permanent(bus: Bus, steps: Iterable[WritePermanent]) -> None:
    """Add and update in the given order: what refers to an object comes after it.

    firewalld sees an edit of its files five seconds late, so what it knows decides in the end.
    """
    for (exists, _kind), group in groupby(steps, key=lambda step: (step.exists, step.object.kind)):
        objects = [step.object for step in group]
        if exists:
            _add_permanent(bus, _update_permanent(bus, objects))
        else:
            _update_permanent(bus, _add_permanent(bus, objects))


def _add_permanent(bus: Bus, objects: list[FirewalldObject]) -> list[FirewalldObject]:
    """Add the objects; those that firewalld knows already."""
    answers = bus.call_all(
        Call(
            _PERMANENT_METHODS[each.kind][1],
            "config",
            f"s{_signature(each)}",
            (each.name, _permanent_settings(each)),
            path=CONFIG_PATH,
            deadline=_write_deadline(each),
        )
        for each in objects
    )
    there = []
    for each, answer in zip(objects, answers):
        if isinstance(answer, FirewalldRefused) and "NAME_CONFLICT" in answer.error:
            there.append(each)
        else:
            _answered(answer)
    return there


def _update_permanent(bus: Bus, objects: list[FirewalldObject]) -> list[FirewalldObject]:
    """Update the objects; those that firewalld does not know."""
    paths = bus.call_all(
        Call(_PERMANENT_METHODS[each.kind][0], "config", "s", (each.name,), path=CONFIG_PATH)
        for each in objects
    )
    found = [each for each in zip(objects, paths) if not isinstance(each[1], FirewalldRefused)]
    for answer in bus.call_all(
        Call(
            _PERMANENT_METHODS[each.kind][2],
            f"config.{each.kind.value}",
            _signature(each),
            (_permanent_settings(each),),
            path=path,
            deadline=_write_deadline(each),
        )
        for each, path in found
    ):
        _answered(answer)
    return [each for each, path in zip(objects, paths) if isinstance(path, FirewalldRefused)]


def _signature(each: FirewalldObject) -> str:
    return _IPSET_SIGNATURE if each.kind is Kind.IPSET else "a{sv}"


def _permanent_settings(each: FirewalldObject) -> Any:
    if each.kind is not Kind.IPSET:
        return _variants(each.settings)
    settings = each.settings
    options = dict(option.split("=", 1) for option in each.items("options"))
    head = ("", settings["short"], settings["description"], settings["type"])
    return (*head, options, list(each.items("entries")))


def _write_deadline(each: FirewalldObject) -> float:
    entries = each.items("entries") if each.kind is Kind.IPSET else ()
    return Call.deadline + len(entries) * _SECONDS_PER_ENTRY


def _remove_permanent(bus: Bus, kind: Kind, name: str) -> None:
    find = _PERMANENT_METHODS[kind][0]
    path = bus.call(Call(find, "config", "s", (name,), path=CONFIG_PATH))
    bus.call(Call("remove", f"config.{kind.value}", path=path))
    remove_backups(kind, name)


def _change_entries(bus: Bus, steps: Iterable[ChangeEntries]) -> None:
    calls = [
        Call(method, "ipset", "ss", (step.name, entry))
        for step in steps
        for method, entries in (("addEntry", step.add), ("removeEntry", step.remove))
        for entry in entries
    ]
    for answer in bus.call_all(calls):
        _answered(answer)
