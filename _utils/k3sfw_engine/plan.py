"""The steps from what is observed to what is wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import netaddr

from .desired import Desired, RowRule, keep_members, without_interfaces
from .difference import (
    Observed,
    differing_settings,
    layer_changes,
    obsolete,
    ours,
    plain_settings,
    title,
)
from .errors import ForeignObject
from .kernel import kernel_drift
from .objects import (
    CONTENT,
    RUNTIME_SETTINGS,
    FirewalldObject,
    Key,
    Kind,
    Objects,
    by_key,
    is_ours,
)
from .steps import (
    ChangeEntries,
    RefillEntries,
    Reload,
    RemovePermanent,
    SetRuntime,
    Step,
    WritePermanent,
)

# Entries change one by one without a gap; from here on one flush and refill is the lesser evil
# (measured: 3 ms an entry, 80 ms for a refill with a thousand).
_ENTRIES_ONE_BY_ONE = 200

# An ipset that is new to a running firewalld needs a reload. Up to so many rules we name its
# addresses at runtime instead; the permanent rules name the ipset, and the next reload, whoever
# makes it, brings it to life.
_ADDRESSES_IN_PLACE_OF_AN_IPSET = 64


@dataclass(frozen=True)
class Plan:
    """What would change, how, and what is to be told besides.

    ``changes`` is ``{layer: {object: {setting: {"old": …, "new": …}}}}``; of lists, the entries
    that go and the entries that come.
    """

    steps: tuple[Step, ...]
    changes: Mapping[str, Any]
    notices: tuple[str, ...] = ()

    @property
    def reloads(self) -> tuple[str, ...]:
        """Why firewalld must be reloaded, if it must."""
        return tuple(step.reason for step in self.steps if isinstance(step, Reload))


def make_plan(wanted: Desired, observed: Observed, *, narrow: bool = True) -> Plan:
    """Compute the steps from what is observed to what is wanted.

    narrow
        False keeps every present member of the node sets.

    Raises ``ForeignObject`` if a name that we need is taken by somebody else's object.
    """
    _refuse_foreign(wanted.objects, observed)
    if not narrow:
        wanted = keep_members(wanted, ours(observed.runtime), ours(observed.permanent))
    wanted, notices = _leave_bound_interfaces(wanted, observed)
    runtime_wanted = _runtime_wanted(wanted, observed.runtime)
    changes = layer_changes(wanted.objects, runtime_wanted, observed)
    if not changes:
        return Plan((), {}, notices)

    drift = kernel_drift(observed.kernel, ours(observed.runtime))
    reason = _reload_reason(runtime_wanted, observed.runtime, drift.rules)
    steps: list[Step] = []
    runtime, permanent = observed.runtime, observed.readable
    if reason:
        gone = obsolete(wanted.objects, permanent)
        steps += [RemovePermanent(key) for key in _referring_first(gone) if key[0] != Kind.IPSET]
        # Of objects that are there, the reload brings back what is in force now. New ones come
        # complete: a rule a time takes firewalld five milliseconds, all in one load nearly none,
        # and an object that only ever accepts cannot cut anybody off.
        before = {key: _in_force(want, runtime.get(key)) for key, want in runtime_wanted.items()}
        steps += _permanent_steps(before, permanent)
        table_lost = observed.kernel is not None and not observed.kernel.table
        steps.append(Reload(reason, restore_table=table_lost))
        ipsets = {key: each for key, each in gone.items() if key[0] is Kind.IPSET}
        runtime = permanent = {**ipsets, **before}
    emptied = frozenset() if reason else drift.ipsets
    steps += _runtime_steps(runtime_wanted, runtime, emptied)
    steps += _permanent_steps(wanted.objects, permanent)
    steps += _obsolete_steps(wanted.objects, runtime, permanent)
    return Plan(tuple(steps), changes, notices)


def removal_plan(observed: Observed) -> Plan:
    """Compute the steps that take every object of ours away, and nothing else."""
    permanent = ours(observed.readable)
    damaged = {key for key in observed.damaged if key in ours(observed.runtime)}
    runtime = ours(observed.runtime)
    steps: list[Step] = [RemovePermanent(key) for key in _referring_first({*permanent, *damaged})]
    if runtime:
        steps.append(Reload("runtime objects go only with a reload"))
    changes = {
        layer: {
            title(key): {"old": plain_settings(each), "new": None} for key, each in objects.items()
        }
        for layer, objects in (("permanent", permanent), ("runtime", runtime))
        if objects
    }
    return Plan(tuple(steps), changes)


# -- what is wanted, as far as others and the running firewalld allow ----------------------------


def _refuse_foreign(wanted: Objects, observed: Observed) -> None:
    sentences: list[str] = []
    for where, objects in (("permanent", observed.permanent), ("runtime", observed.runtime)):
        for key, each in objects.items():
            if key in wanted and not is_ours(each):
                sentences.append(
                    f"the {where} {title(key)} was not made by k3sfw, so it is left alone. Mend: "
                    "give it a name that does not begin with k3s, or delete it; then apply again"
                )
    for kind, name in sorted(observed.damaged):
        if (kind, name) in wanted and (kind, name) not in ours(observed.runtime):
            sentences.append(
                f"the permanent {kind.value} {name} cannot be read, so nobody can say whose it "
                f"is. Mend: look at its file below /etc/firewalld, then delete it"
            )
    if sentences:
        raise ForeignObject(sentences)


def _leave_bound_interfaces(wanted: Desired, observed: Observed) -> tuple[Desired, tuple[str, ...]]:
    zone = next(each for each in wanted.objects.values() if each.kind is Kind.ZONE)
    bound = {
        interface: owner
        for zones in observed.interface_zones.values()
        for interface, owner in zones.items()
        if owner != zone.name and interface in zone.items("interfaces")
    }
    notices = tuple(
        f"interface {interface} is bound to zone {owner} by somebody else and stays there; pods "
        f"behind it are judged by that zone. Mend: firewall-cmd --permanent --zone={owner} "
        f"--remove-interface={interface}; firewall-cmd --zone={owner} "
        f"--remove-interface={interface}; then apply again"
        for interface, owner in sorted(bound.items())
    )
    return (without_interfaces(wanted, bound) if bound else wanted), notices


def _runtime_wanted(wanted: Desired, runtime: Objects) -> Objects:
    """What runtime shall have: all that is wanted, or addresses for ipsets it does not know yet."""
    missing = {key for key in wanted.objects if key not in runtime}
    if not missing or any(kind is not Kind.IPSET for kind, _name in missing):
        return wanted.objects
    rules = {
        str(each.rule): _by_address(each, wanted.objects)
        for each in wanted.rules
        if (Kind.IPSET, each.rule.ipset) in missing
    }
    if sum(map(len, rules.values())) > _ADDRESSES_IN_PLACE_OF_AN_IPSET:
        return wanted.objects
    return {
        key: _with_rules(each, rules) if each.kind is Kind.POLICY else each
        for key, each in wanted.objects.items()
        if key not in missing
    }


def _by_address(each: RowRule, objects: Objects) -> tuple[str, ...]:
    entries = objects[Kind.IPSET, each.rule.ipset].items("entries")
    return tuple(str(replace(each.rule, ipset="", address=address)) for address in entries)


def _with_rules(policy: FirewalldObject, instead: Mapping[str, tuple[str, ...]]) -> FirewalldObject:
    rules = {new for rule in policy.items("rich_rules") for new in instead.get(rule, (rule,))}
    return policy.with_settings({"rich_rules": tuple(sorted(rules))})


# -- the steps ------------------------------------------------------------------------------------


def _reload_reason(wanted: Objects, runtime: Objects, lost_rules: bool) -> str:
    """Why a reload is needed, or an empty text."""
    new = [title(key) for key in wanted if key not in runtime]
    if new:
        return f"new objects exist at runtime only after a reload: {', '.join(new)}"
    fixed = [
        f"{setting} of {title(key)}"
        for key, want in wanted.items()
        for setting in differing_settings(want, runtime[key])
        if setting not in RUNTIME_SETTINGS[want.kind]
    ]
    if fixed:
        return f"firewalld changes these only with a reload: {', '.join(fixed)}"
    if any(key[0] is not Kind.IPSET for key in obsolete(wanted, runtime)):
        return "objects of an older version go only with a reload"
    return "the kernel has lost rules that firewalld believes to be there" if lost_rules else ""


def _in_force(want: FirewalldObject, have: FirewalldObject | None) -> FirewalldObject:
    """The object with what is in force of it now; as it is wanted where it is new."""
    if have is None:
        return want
    content = CONTENT[want.kind]
    return want.with_settings({content: have.settings[content]})


def _permanent_steps(wanted: Objects, permanent: Objects) -> Iterator[Step]:
    for key, want in by_key(wanted.values()).items():
        if key not in permanent or differing_settings(want, permanent[key]):
            yield WritePermanent(want, exists=key in permanent)


def _obsolete_steps(wanted: Objects, runtime: Objects, permanent: Objects) -> Iterator[Step]:
    for key in _referring_first(obsolete(wanted, permanent)):
        yield RemovePermanent(key)
    for (_kind, name), each in obsolete(wanted, runtime).items():
        if each.kind is Kind.IPSET and each.settings["entries"]:
            yield RefillEntries(name, ())


def _runtime_steps(wanted: Objects, runtime: Objects, emptied: frozenset[str]) -> Iterator[Step]:
    """First everything that opens, then everything that closes: a row that changes has no gap."""
    closing: list[Step] = []
    for key, want in by_key(wanted.values()).items():
        have = runtime[key]
        if want.kind is Kind.IPSET:
            opens, closes = _entry_steps(want, have, refill=want.name in emptied)
            yield from opens
            closing += closes
            continue
        final = {setting: want.settings[setting] for setting in differing_settings(want, have)}
        content = CONTENT[want.kind]
        both = tuple(sorted({*have.items(content), *want.items(content)}))
        if both != have.items(content):
            yield SetRuntime(key, {content: both})
            if both == want.items(content):
                del final[content]
        if final:
            closing.append(SetRuntime(key, final))
    yield from reversed(closing)


def _entry_steps(
    want: FirewalldObject, have: FirewalldObject, *, refill: bool
) -> tuple[list[Step], list[Step]]:
    new, old = set(want.items("entries")), set(have.items("entries"))
    add, remove = tuple(sorted(new - old)), tuple(sorted(old - new))
    many = len(add) + len(remove) > _ENTRIES_ONE_BY_ONE or (len(add) > 1 and not old)
    # firewalld refuses an entry that overlaps one which is still there.
    if refill or many or _overlap(add, remove):
        return [RefillEntries(want.name, want.items("entries"))], []
    opens: list[Step] = [ChangeEntries(want.name, add=add)] if add else []
    closes: list[Step] = [ChangeEntries(want.name, remove=remove)] if remove else []
    return opens, closes


def _overlap(add: Iterable[str], remove: Iterable[str]) -> bool:
    going = netaddr.IPSet(remove)
    return bool(going) and not going.isdisjoint(netaddr.IPSet(add))


def _referring_first(keys: Iterable[Key]) -> list[Key]:
    order = list(Kind)
    return sorted(keys, key=lambda key: (-order.index(key[0]), key[1]))
