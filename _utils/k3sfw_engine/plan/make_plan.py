"""The steps from what is observed to what is wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from k3sfw_engine.errors import EngineError, ForeignObject
from k3sfw_engine.model.difference import WHOLE, Difference, Differences
from k3sfw_engine.model.firewall_objects import (
    RICH_RULES,
    RUNTIME_SETTINGS,
    ZONE,
    FirewalldObject,
    Key,
    Kind,
    Objects,
    by_key,
    in_order,
    is_ours,
    ours,
    title,
)
from k3sfw_engine.model.rich_rules import RichRule, Rule
from k3sfw_engine.model.zone_bindings import Bindings
from k3sfw_engine.plan.defaults import ADDRESSES_IN_PLACE_OF_AN_IPSET
from k3sfw_engine.plan.desired.bound_interfaces import leave_bound_interfaces
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.desired.ipsets import keep_members
from k3sfw_engine.plan.desired.policies import by_address
from k3sfw_engine.plan.difference import differences_by_layer, differing_settings, obsolete
from k3sfw_engine.plan.ipset_steps import entry_steps
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.policy_steps import setting_steps
from k3sfw_engine.plan.steps import RefillEntries, Reload, RemovePermanent, Step, WritePermanent


@dataclass(frozen=True)
class Plan:
    """The steps, the differences that they remove, and what the operator is told."""

    steps: tuple[Step, ...]
    differences: Differences
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
    permanently = _bound(wanted, observed, "permanent")
    now = _bound(wanted, observed, "runtime")
    # What is bound at runtime only comes back to us with a reload, or to its zone by whoever bound
    # it. A permanent policy that names a zone which is not there would make the reload fail.
    zones = observed.zones & (permanently.zones | now.zones)
    permanent_wanted = leave_bound_interfaces(wanted.objects, permanently.interfaces, zones)
    gone = obsolete(permanent_wanted, observed.readable)
    _refuse_used(gone, observed)
    other_rules = observed.drift().rules
    at_runtime = leave_bound_interfaces(wanted.objects, now.interfaces, now.zones)
    runtime_wanted = _runtime_wanted(at_runtime, observed.runtime)
    if _reload_reason(runtime_wanted, observed.runtime, other_rules):
        runtime_wanted = at_runtime
    reason = _reload_reason(runtime_wanted, observed.runtime, other_rules)
    permanent_steps = [
        *_permanent_steps(permanent_wanted, observed.readable),
        *(RemovePermanent(key) for key in _referring_first(gone)),
    ]
    if reason:
        # What needs a reload comes in with it, whole: a rule a time takes firewalld five
        # milliseconds, all in one load nearly none.
        table_lost = observed.kernel is not None and not observed.kernel.table
        steps = [*permanent_steps, Reload(reason, restore_table=table_lost)]
    else:
        steps = [*_runtime_steps(runtime_wanted, observed), *permanent_steps]
    differences = differences_by_layer(permanent_wanted, runtime_wanted, observed)
    notices = tuple(_bound_notices(now | permanently, observed))
    return Plan(tuple(steps) if differences else (), differences, notices)


def removal_plan(observed: Observed) -> Plan:
    """Compute the steps that take every object of ours away, and nothing else."""
    permanent = ours(observed.readable)
    _refuse_used(permanent, observed)
    damaged = observed.damaged & {*ours(observed.runtime), *observed.kept}
    runtime = ours(observed.runtime)
    steps: list[Step] = [RemovePermanent(key) for key in _referring_first({*permanent, *damaged})]
    if runtime:
        steps.append(Reload("runtime objects go only with a reload"))
    differences = tuple(
        Difference(layer, key, WHOLE, extra=each)
        for layer, objects in (("permanent", permanent), ("runtime", runtime))
        for key, each in objects.items()
    )
    return Plan(tuple(steps), differences)


# -- what is wanted, as far as others and the running firewalld allow ----------------------------


def _refuse_foreign(wanted: Objects, observed: Observed) -> None:
    sentences: list[str] = []
    for where, objects in (("permanent", observed.permanent), ("runtime", observed.runtime)):
        for key, each in objects.items():
            if key in wanted and not is_ours(each):
                sentences.append(
                    f"the {where} {title(key)} was not made by k3sfw, so it is left alone. Fix: "
                    "give it a name that does not begin with k3s, or delete it; then apply again"
                )
    for kind, name in sorted(observed.damaged - observed.kept):
        if (kind, name) in wanted and (kind, name) not in ours(observed.runtime):
            sentences.append(
                f"the permanent {kind.value} {name} cannot be read, so nobody can say whose it "
                f"is. Fix: look at its file below /etc/firewalld, then delete it"
            )
    if sentences:
        raise ForeignObject(sentences)


def _refuse_used(going: Iterable[Key], observed: Observed) -> None:
    """An object that somebody's own refers to cannot go: no reload would succeed any more."""
    sentences = [
        f"the {title(key)} cannot be removed, as the permanent {user} of somebody else names it. "
        f"Fix: take it out there, then apply again"
        for key in going
        for user in observed.users.get(key, ())
    ]
    if sentences:
        raise EngineError(sentences)


def _bound(wanted: Desired, observed: Observed, layer: str) -> Bindings:
    """What others have bound of the pods' interfaces and networks."""
    interfaces = wanted.objects[Kind.ZONE, ZONE].items("interfaces")
    networks = wanted.pod_networks if wanted.pods_by_interface else ()
    return observed.bindings.get(layer, Bindings()).elsewhere(ZONE, interfaces, networks)


def _bound_notices(bound: Bindings, observed: Observed) -> Iterator[str]:
    for interface, zone in bound.interfaces.items():
        beside = sorted(
            {
                name
                for bindings in observed.bindings.values()
                for name in bindings.interfaces_of(zone)
            }
            - {*bound.interfaces}
        )
        claimed = f", and also by {', '.join(beside)} if they claim such an address" * bool(beside)
        yield (
            f"interface {interface} is bound to zone {zone} by somebody else and stays there; pods "
            f"are let in by it because of their address{claimed}. Fix: firewall-cmd --permanent "
            f"--zone={zone} --remove-interface={interface}; firewall-cmd --zone={zone} "
            f"--remove-interface={interface}; then apply again"
        )
    for source, zone in bound.sources.items():
        yield (
            f"source {source} is bound to zone {zone} by somebody else and stays there; whoever "
            f"claims a pod's address in it is taken for a pod, by whatever interface. See "
            f"firewall-cmd --zone={zone} --list-all, and take that source out if it is for pods"
        )


def _runtime_wanted(wanted: Objects, runtime: Objects) -> Objects:
    """What runtime shall have: all that is wanted, or addresses for ipsets it does not know yet."""
    missing = {key for key in wanted if key not in runtime}
    if not missing or any(kind is not Kind.IPSET for kind, _name in missing):
        return wanted
    instead: dict[Rule, tuple[Rule, ...]] = {
        rule: by_address(rule, wanted)
        for each in wanted.values()
        for rule in each.rules
        if isinstance(rule, RichRule) and (Kind.IPSET, rule.ipset) in missing
    }
    if sum(map(len, instead.values())) > ADDRESSES_IN_PLACE_OF_AN_IPSET:
        return wanted
    return {
        key: _with_rules(each, instead) if each.kind is Kind.POLICY else each
        for key, each in wanted.items()
        if key not in missing
    }


def _with_rules(
    policy: FirewalldObject, instead: Mapping[Rule, tuple[Rule, ...]]
) -> FirewalldObject:
    rules = (new for rule in policy.rules for new in instead.get(rule, (rule,)))
    return policy.with_settings({RICH_RULES[policy.kind]: in_order(rules)})


# -- the steps ------------------------------------------------------------------------------------


def _reload_reason(wanted: Objects, runtime: Objects, other_rules: bool) -> str:
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
    return "the kernel has other rules than firewalld believes" if other_rules else ""


def _permanent_steps(wanted: Objects, permanent: Objects) -> Iterator[Step]:
    for key, want in by_key(wanted.values()).items():
        if key not in permanent or differing_settings(want, permanent[key]):
            yield WritePermanent(want, exists=key in permanent)


def _runtime_steps(wanted: Objects, observed: Observed) -> Iterator[Step]:
    """First everything that opens, then everything that closes: a row that changes has no gap."""
    runtime = observed.runtime
    lost_entries = observed.drift().ipsets
    closing: list[Step] = []
    for key, want in by_key(wanted.values()).items():
        opens, closes = (
            entry_steps(want, runtime[key], refill=want.name in lost_entries)
            if want.kind is Kind.IPSET
            else setting_steps(want, runtime[key])
        )
        yield from opens
        closing += closes
    yield from reversed(closing)
    for (kind, name), each in obsolete(wanted, runtime).items():
        # It goes with the next reload, whoever makes it.
        if kind is Kind.IPSET and each.settings["entries"]:
            yield RefillEntries(name, ())


def _referring_first(keys: Iterable[Key]) -> list[Key]:
    order = list(Kind)
    return sorted(keys, key=lambda key: (-order.index(key[0]), key[1]))
