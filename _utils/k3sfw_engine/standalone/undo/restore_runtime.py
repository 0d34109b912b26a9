"""The D-Bus calls that restore firewalld's runtime configuration. Pure.

Both the undo program and the engine make them: after an undo, and after a reload, which drops what
others had set at runtime only.
"""

from typing import Any, Dict, Iterator, Mapping, Sequence, Tuple

Variants = Mapping[str, Sequence[Any]]
# ``{"zones": {name: variants}, "policies": {name: variants}, "ipsets": {name: entries},
# "direct": {"chains" | "rules" | "passthroughs": items}}``
Snapshot = Mapping[str, Mapping[str, Any]]
# Interface (without firewalld's prefix), method, signature, arguments.
RuntimeCall = Tuple[str, str, str, Tuple[Any, ...]]

DIRECT = {
    "chains": ("getAllChains", "addChain", "removeChain", "sss"),
    "rules": ("getAllRules", "addRule", "removeRule", "sssias"),
    "passthroughs": ("getAllPassthroughs", "addPassthrough", "removePassthrough", "sas"),
}


def restoring(before: Snapshot, after: Snapshot) -> Iterator[RuntimeCall]:
    """The calls that turn ``after`` back into ``before``.

    An object that is in only one of them is left alone.
    """
    yield from _ipset_calls(before["ipsets"], after["ipsets"])
    yield from _direct_calls(before["direct"], after["direct"])
    zones = _differences(before["zones"], after["zones"])
    for name in zones:
        for interface in _items(before["zones"][name], "interfaces"):
            if interface not in _items(after["zones"][name], "interfaces"):
                # It may be in our own zone now, if the reload put it there.
                yield "zone", "changeZoneOfInterface", "ss", (name, interface)
    # An interface can be in one zone only: all leave first, then all arrive.
    for name, settings in zones.items():
        leaving = {
            key: (signature, [item for item in _items(after["zones"][name], key) if item in value])
            for key, (signature, value) in settings.items()
            if key in ("interfaces", "sources")
        }
        if leaving:
            yield "zone", "setZoneSettings2", "sa{sv}", (name, leaving)
    for name, settings in zones.items():
        yield "zone", "setZoneSettings2", "sa{sv}", (name, settings)
    for name, settings in _differences(before["policies"], after["policies"]).items():
        yield "policy", "setPolicySettings", "sa{sv}", (name, settings)


def _ipset_calls(
    before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]
) -> Iterator[RuntimeCall]:
    for name, entries in before.items():
        if name in after:
            old, new = set(entries), set(after[name])
            for entry in sorted(new - old):
                yield "ipset", "removeEntry", "ss", (name, entry)
            for entry in sorted(old - new):
                yield "ipset", "addEntry", "ss", (name, entry)


def _direct_calls(
    before: Mapping[str, Sequence[Any]], after: Mapping[str, Sequence[Any]]
) -> Iterator[RuntimeCall]:
    for what, (_get, add, remove, signature) in DIRECT.items():
        old, new = before.get(what, ()), after.get(what, ())
        for item in old:
            if item not in new:
                yield "direct", add, signature, tuple(item)
        for item in new:
            if item not in old:
                yield "direct", remove, signature, tuple(item)


def _differences(
    before: Mapping[str, Variants], after: Mapping[str, Variants]
) -> Dict[str, Dict[str, Sequence[Any]]]:
    found: Dict[str, Dict[str, Sequence[Any]]] = {}
    for name in sorted(set(before).intersection(after)):
        old, new = before[name], after[name]
        for key in sorted(set(old).union(new)):
            value = (old.get(key) or new[key])[1]
            if _is_of_runtime(value) and _items(old, key) != _items(new, key):
                empty: Any = False if isinstance(value, bool) else []
                found.setdefault(name, {})[key] = old.get(key) or (new[key][0], empty)
    return found


def _is_of_runtime(value: Any) -> bool:
    return isinstance(value, (list, tuple, bool))


def _items(settings: Variants, key: str) -> Any:
    """The value of a setting, comparable: firewalld returns lists in any order."""
    value: Any = settings[key][1] if key in settings else False
    if isinstance(value, (list, tuple)):
        return sorted(item if isinstance(item, str) else tuple(item) for item in value)
    return value or []
