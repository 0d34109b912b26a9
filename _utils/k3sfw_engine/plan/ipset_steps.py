"""The steps that change the entries of a runtime ipset: one by one, or all by a refill. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import netaddr

from k3sfw_engine.model.addresses import entry, without_contained
from k3sfw_engine.model.firewall_objects import FirewalldObject
from k3sfw_engine.plan.defaults import ENTRIES_ONE_BY_ONE
from k3sfw_engine.plan.policy_steps import OpensAndCloses
from k3sfw_engine.plan.steps import ChangeEntries, RefillEntries, Step


def entry_steps(want: FirewalldObject, have: FirewalldObject, *, refill: bool) -> OpensAndCloses:
    """Return the steps that open something, and those that close something.

    refill
        Whether the kernel has other entries than firewalld, so that single ones cannot change.
    """
    new, old = set(want.items("entries")), set(have.items("entries"))
    add, remove = tuple(sorted(new - old)), tuple(sorted(old - new))
    many = len(add) + len(remove) > ENTRIES_ONE_BY_ONE or (len(add) > 1 and not old)
    # firewalld refuses an entry that overlaps one which is still there.
    if refill or many or _overlap(add, remove):
        final: list[Step] = [RefillEntries(want.name, want.items("entries"))]
        if not remove:
            return final, []
        networks = without_contained(netaddr.IPNetwork(text) for text in new | old)
        both = tuple(sorted(map(entry, networks)))
        if both == want.items("entries"):
            return final, []
        return ([RefillEntries(want.name, both)] if add else []), final
    opens: list[Step] = [ChangeEntries(want.name, add=add)] if add else []
    closes: list[Step] = [ChangeEntries(want.name, remove=remove)] if remove else []
    return opens, closes


def _overlap(add: Iterable[str], remove: Iterable[str]) -> bool:
    going = netaddr.IPSet(remove)
    return bool(going) and not going.isdisjoint(netaddr.IPSet(add))
