"""What a run changed, or would change, as data and as sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RunResult:
    """What a run changed, or would change.

    ``changes`` as in ``Plan``; ``reloads`` the reasons for which firewalld was reloaded;
    ``meaning`` sentences about what the changes mean to whom.
    """

    changes: Mapping[str, Any]
    reloads: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    meaning: tuple[str, ...] = ()

    def comment(self, *, test: bool) -> str:
        """Say it in sentences."""
        if not self.changes:
            done = "firewalld and the kernel are as they should be"
        else:
            objects = {name for layer in self.changes.values() for name in layer}
            names = ", ".join(sorted(objects))
            done = f"{'would change' if test else 'changed'} {', '.join(self.changes)}: {names}"
        reloads = [f"reload: {reason}" for reason in self.reloads]
        return "\n".join([done, *self.meaning, *reloads, *self.notices])


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """The changes of both, by layer."""
    return {layer: {**one.get(layer, {}), **other.get(layer, {})} for layer in {**one, **other}}
