"""The plan: the steps from what is observed to what is wanted, or to nothing of ours. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from k3sfw_engine.errors import EngineError, ForeignObject
from k3sfw_engine.model.difference import WHOLE, Difference, Differences
from k3sfw_engine.model.firewall_objects import (
    DEFAULTS,
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
from k3sfw_engine.plan import messages
from k3sfw_engine.plan.defaults import ADDRESSES_IN_PLACE_OF_AN_IPSET, RULES_ONE_BY_ONE
from k3sfw_engine.plan.desired.bound_interfaces import leave_bound_interfaces
from k3sfw_engine.plan.desired.desired_objects import Desired
from k3sfw_engine.plan.desired.ipsets import keep_members
from k3sfw_engine.plan.desired.kept_paths import keep_paths_of_pods
from k3sfw_engine.plan.desired.policies import by_address
from k3sfw_engine.plan.difference import (
    differences_by_layer,
    differing_settings,
    is_empty_ipset,
    obsolete,
)
from k3sfw_engine.plan.ipset_steps import entry_steps
from k3sfw_engine.plan.observed import Observed
from k3sfw_engine.plan.policy_steps import setting_steps
from k3sfw_engine.plan.steps import (
    RefillEntries,
    Reload,
    RemovePermanent,
    SetRuntime,
    Step,
    WritePermanent,
)

# Whether a reload costs clients less than so many rules that firewalld changes one by one.
ReloadCostsLess = Callable[[int], bool]


def one_by_one(_rules: int) -> bool:
    """Change any number of rules without a reload."""
    return False


@dataclass(frozen=True)
class Plan:
    """The steps, the differences that they remove, and what the operator is told.

    meaning
        Sentences about what the changes mean for clients.
    broken_promises
        Sentences about promises that are broken although nothing is refused.
    """

    steps: tuple[Step, ...]
    differences: Differences
    notices: tuple[str, ...] = ()
    meaning: tuple[str, ...] = ()
    broken_promises: tuple[str, ...] = ()

    @property
    def reloads(self) -> tuple[str, ...]:
        """The reasons for which firewalld must be reloaded."""
        return tuple(step.reason for step in self.steps if isinstance(step, Reload))


def make_plan(
    wanted: Desired,
    observed: Observed,
    *,
    narrow: bool = True,
    reload_costs_less: ReloadCostsLess = one_by_one,
) -> Plan:
    """Compute the steps from what is observed to what is wanted.

    narrow
        Whether addresses may be removed from the ipsets of nodes.
    reload_costs_less
        Is asked only if many rules would change at runtime.

    Raises ``ForeignObject`` if an object that k3sfw did not create has a name that we need.
    """
    _refuse_foreign(wanted.objects, observed)
    wanted = keep_paths_of_pods(wanted, ours(observed.readable))
    if not narrow:
        wanted = keep_members(wanted, ours(observed.runtime), ours(observed.permanent))
    permanently = _bound(wanted, observed, "permanent")
    now = _bound(wanted, observed, "runtime")
    # A reload ends bindings that exist at runtime only. A permanent policy that names a zone which
    # does not exist would make it fail.
    zones = observed.zones & (permanently.zones | now.zones)
    permanent_wanted = leave_bound_interfaces(wanted.objects, permanently.interfaces, zones)
    gone = obsolete(permanent_wanted, observed.readable)
    _refuse_used(gone, observed)
    at_runtime = leave_bound_interfaces(wanted.objects, now.interfaces, now.zones)
    runtime_wanted = _runtime_wanted(_with_old_target(at_runtime, observed), observed.runtime)
    reason, steps = _steps_or_reason(runtime_wanted, observed, reload_costs_less)
    if reason:
        runtime_wanted = at_runtime
    permanent_steps = [
        *_permanent_steps(permanent_wanted, observed.readable),
        *(RemovePermanent(key) for key in _referring_first(gone)),
    ]
    if reason:
        # Everything comes with the reload: one rule at a time takes firewalld five milliseconds,
        # all in one load hardly any.
        table_lost = observed.kernel is not None and not observed.kernel.table
        steps = [*permanent_steps, Reload(reason, restore_table=table_lost)]
    else:
        steps += permanent_steps
    differences = differences_by_layer(permanent_wanted, runtime_wanted, observed)
    notices = tuple(_bound_notices(now | permanently, observed))
    return Plan(tuple(steps) if differences else (), differences, notices)


def removal_plan(observed: Observed) -> Plan:
    """Compute the steps that remove every object of ours, and nothing else."""
    permanent = ours(observed.readable)
    _refuse_used(permanent, observed)
    damaged = observed.damaged & {*ours(observed.runtime), *observed.kept}
    runtime = ours(observed.runtime)
    steps: list[Step] = [RemovePermanent(key) for key in _referring_first({*permanent, *damaged})]
    if any(kind is not Kind.IPSET for kind, _name in runtime):
        steps.append(Reload(messages.REMOVAL))
    else:
        # With FlushAllOnReload=no ipsets outlive a reload, and none of our policies uses them.
        runtime = {key: each for key, each in runtime.items() if not is_empty_ipset(each)}
        steps += [RefillEntries(name, ()) for _kind, name in runtime]
    differences = tuple(
        Difference(layer, key, WHOLE, extra=each)
        for layer, objects in (("permanent", permanent), ("runtime", runtime))
        for key, each in objects.items()
    )
    return Plan(tuple(steps), differences)


# -- what others have, and what the running firewalld can do --------------------------------------


def _refuse_foreign(wanted: Objects, observed: Observed) -> None:
    problems = [
        messages.foreign_object(layer, title(key))
        for layer, objects in (("permanent", observed.permanent), ("runtime", observed.runtime))
        for key, each in objects.items()
        if key in wanted and not is_ours(each)
    ]
    problems += [
        messages.unreadable_object(title(key))
        for key in sorted(observed.damaged - observed.kept)
        if key in wanted and key not in ours(observed.runtime)
    ]
    if problems:
        raise ForeignObject(problems)


def _refuse_used(going: Iterable[Key], observed: Observed) -> None:
    """Refuse to remove an object to which others refer: no reload would succeed any more."""
    problems = [
        messages.used_object(title(key), user)
        for key in going
        for user in observed.users.get(key, ())
    ]
    if problems:
        raise EngineError(problems)


def _bound(wanted: Desired, observed: Observed, layer: str) -> Bindings:
    """The interfaces and networks of pods that are bound to other zones."""
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
        yield str(messages.bound_interface(interface, zone, beside))
    for source, zone in bound.sources.items():
        yield str(messages.bound_source(source, zone))


def _with_old_target(wanted: Objects, observed: Observed) -> Objects:
    """Leave the target that zone k3s had in older versions until the next reload.

    No packet meets it, as our policies accept before, so it is not worth a reload: except where it
    is the last zone in use that does not drop, as scanners demand.
    """
    zone = wanted[Kind.ZONE, ZONE]
    have = observed.runtime.get(zone.key)
    old = DEFAULTS[Kind.ZONE]["target"]
    if have is None or have.settings["target"] != old or observed.other_zones_drop:
        return wanted
    return {**wanted, zone.key: zone.with_settings({"target": old})}


def _runtime_wanted(wanted: Objects, runtime: Objects) -> Objects:
    """What runtime must have: all that is wanted, but addresses in place of ipsets new to it."""
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


def _steps_or_reason(
    wanted: Objects, observed: Observed, reload_costs_less: ReloadCostsLess
) -> tuple[str, list[Step]]:
    """The reason why a reload is needed or better, or else the steps without one."""
    reason = _reload_reason(wanted, observed.runtime, observed.drift.rules)
    if reason:
        return reason, []
    steps = list(_runtime_steps(wanted, observed))
    rules = sum(step.changed for step in steps if isinstance(step, SetRuntime))
    if rules > RULES_ONE_BY_ONE and reload_costs_less(rules):
        return messages.many_rules(rules), []
    return "", steps


def _reload_reason(wanted: Objects, runtime: Objects, other_rules: bool) -> str:
    """The reason why a reload is needed, or an empty text."""
    new = [title(key) for key in wanted if key not in runtime]
    if new:
        return messages.new_objects(new)
    fixed = [
        f"{setting} of {title(key)}"
        for key, want in wanted.items()
        for setting in differing_settings(want, runtime[key])
        if setting not in RUNTIME_SETTINGS[want.kind]
    ]
    if fixed:
        return messages.fixed_settings(fixed)
    if any(key[0] is not Kind.IPSET for key in obsolete(wanted, runtime)):
        return messages.OLD_OBJECTS
    return messages.OTHER_KERNEL_RULES if other_rules else ""


def _permanent_steps(wanted: Objects, permanent: Objects) -> Iterator[Step]:
    for key, want in by_key(wanted.values()).items():
        if key not in permanent or differing_settings(want, permanent[key]):
            yield WritePermanent(want, exists=key in permanent)


def _runtime_steps(wanted: Objects, observed: Observed) -> Iterator[Step]:
    """First all that opens, then all that closes, so that a changing row is never closed."""
    runtime = observed.runtime
    lost_entries = observed.drift.ipsets
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
        # The next reload removes it.
        if kind is Kind.IPSET and each.settings["entries"]:
            yield RefillEntries(name, ())


def _referring_first(keys: Iterable[Key]) -> list[Key]:
    order = list(Kind)
    return sorted(keys, key=lambda key: (-order.index(key[0]), key[1]))
