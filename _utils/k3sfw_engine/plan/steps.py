"""What can be done to firewalld, as data. A plan is a list of these; one place carries them out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Union

from k3sfw_engine.model.firewall_objects import FirewalldObject, Key, Kind, Settings


@dataclass(frozen=True)
class WritePermanent:
    """Make the permanent object so; ``exists`` tells whether there is a file of it."""

    object: FirewalldObject
    exists: bool


@dataclass(frozen=True)
class RemovePermanent:
    """Delete the permanent object."""

    key: Key


@dataclass(frozen=True)
class Reload:
    """Reload firewalld, and put back what others had at runtime only.

    ``restore_table``: the kernel has lost firewalld's table, without which no reload succeeds.
    """

    reason: str
    restore_table: bool = False


@dataclass(frozen=True)
class SetRuntime:
    """Change some settings of a runtime zone or policy.

    ``changed``: how many of their items come or go, each of which takes firewalld its time.
    """

    key: Key
    settings: Settings
    changed: int


@dataclass(frozen=True)
class ChangeEntries:
    """Add entries to a runtime ipset or remove some, one by one."""

    name: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class RefillEntries:
    """Flush a runtime ipset and fill it anew."""

    name: str
    entries: tuple[str, ...]


Step = Union[WritePermanent, RemovePermanent, Reload, SetRuntime, ChangeEntries, RefillEntries]


def touched_at_runtime(steps: Iterable[Step]) -> frozenset[Key]:
    """The runtime objects that these steps change; a reload can touch all others, too."""
    return frozenset(
        step.key if isinstance(step, SetRuntime) else (Kind.IPSET, step.name)
        for step in steps
        if isinstance(step, (SetRuntime, ChangeEntries, RefillEntries))
    )
