"""The steps that change firewalld, as data: a plan is a list of them. ``str`` gives the sentence.

``firewalld/runtime.py`` and ``firewalld/permanent.py`` carry them out. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Union

from k3sfw_engine.model.firewall_objects import (
    FirewalldObject,
    Item,
    Key,
    Kind,
    Settings,
    Value,
    only_in,
    title,
)
from k3sfw_engine.plan.defaults import ITEMS_IN_A_SENTENCE


@dataclass(frozen=True)
class WritePermanent:
    """Write the file of an object; ``exists`` tells whether there is one already."""

    object: FirewalldObject
    exists: bool

    def __str__(self) -> str:
        return f"permanently: {'rewrite' if self.exists else 'create'} {title(self.object.key)}"


@dataclass(frozen=True)
class RemovePermanent:
    """Delete the file of an object."""

    key: Key

    def __str__(self) -> str:
        return f"permanently: delete {title(self.key)}"


@dataclass(frozen=True)
class Reload:
    """Reload firewalld, and restore what others had at runtime only.

    restore_table
        Whether the kernel has lost firewalld's table, without which no reload succeeds.
    """

    reason: str
    restore_table: bool = False

    def __str__(self) -> str:
        first = "create firewalld's table in the kernel, then " if self.restore_table else ""
        return f"at runtime: {first}reload firewalld: {self.reason}"


@dataclass(frozen=True)
class SetRuntime:
    """Replace some settings of a runtime zone or policy.

    before
        The same settings as they are now.
    """

    key: Key
    settings: Settings
    before: Settings

    @property
    def changed(self) -> int:
        """How many items are added, removed or replaced; each costs firewalld time."""
        return sum(
            len(set(value) ^ set(old)) if isinstance(value, tuple) and isinstance(old, tuple) else 1
            for value, old in self._values()
        )

    def _values(self) -> Iterator[tuple[Value, Value]]:
        return ((value, self.before[setting]) for setting, value in self.settings.items())

    def __str__(self) -> str:
        clauses = [
            clause
            for setting, (value, old) in zip(self.settings, self._values())
            for clause in _clauses(title(self.key), setting, value, old)
        ]
        return f"at runtime: {'; '.join(clauses)}"


@dataclass(frozen=True)
class ChangeEntries:
    """Add entries to a runtime ipset or remove some, one by one."""

    name: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def __str__(self) -> str:
        ipset = title((Kind.IPSET, self.name))
        return f"at runtime: {'; '.join(_additions(ipset, '', self.add, self.remove))}"


@dataclass(frozen=True)
class RefillEntries:
    """Empty a runtime ipset and fill it again, in one call."""

    name: str
    entries: tuple[str, ...]

    def __str__(self) -> str:
        ipset = title((Kind.IPSET, self.name))
        if not self.entries:
            return f"at runtime: empty {ipset}"
        return f"at runtime: fill {ipset} with {_some(self.entries)} and nothing else"


# Ports and rich rules of a zone, by setting.
Elements = Mapping[str, tuple[Item, ...]]


@dataclass(frozen=True)
class TakeOutOfZone:
    """Remove single ports and rules from one layer of a zone of the operator.

    zone
        The zone as it is in that layer.
    """

    layer: str
    zone: FirewalldObject
    elements: Elements

    def __str__(self) -> str:
        when = "at runtime" if self.layer == "runtime" else "permanently"
        name = title(self.zone.key)
        removals = (
            clause
            for setting, items in self.elements.items()
            for clause in _additions(name, f"{_WORDS.get(setting, setting)} ", (), items)
        )
        return f"{when}: {'; '.join(removals)}"


Step = Union[
    WritePermanent,
    RemovePermanent,
    Reload,
    SetRuntime,
    ChangeEntries,
    RefillEntries,
    TakeOutOfZone,
]


def touched_at_runtime(steps: Iterable[Step]) -> frozenset[Key]:
    """Return the runtime objects that these steps change; a reload can change all others too."""
    return frozenset(
        step.key if isinstance(step, SetRuntime) else (Kind.IPSET, step.name)
        for step in steps
        if isinstance(step, (SetRuntime, ChangeEntries, RefillEntries))
    )


# -- in sentences ---------------------------------------------------------------------------------

_WORDS = {
    "rich_rules": "rule",
    "rules_str": "rule",
    "interfaces": "interface",
    "ingress_zones": "ingress zone",
    "egress_zones": "egress zone",
}


def _clauses(name: str, setting: str, value: Value, old: Value) -> Iterator[str]:
    if isinstance(value, tuple) and isinstance(old, tuple):
        word = f"{_WORDS.get(setting, setting)} "
        yield from _additions(name, word, only_in(value, old), only_in(old, value))
    else:
        yield f"set {setting} of {name} to {value}"


def _additions(
    name: str, word: str, add: tuple[Item, ...], remove: tuple[Item, ...]
) -> Iterator[str]:
    if add:
        yield f"add {word}{_some(add)} to {name}"
    if remove:
        yield f"remove {word}{_some(remove)} from {name}"


def _some(items: tuple[Item, ...]) -> str:
    told = ", ".join(map(str, items[:ITEMS_IN_A_SENTENCE]))
    more = len(items) - ITEMS_IN_A_SENTENCE
    return f"{told} and {more} more" if more > 0 else told
