"""The result of a command that changes the firewall: the differences and sentences about them.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k3sfw_engine.model.difference import Differences, as_changes


@dataclass(frozen=True)
class RunResult:
    """What a run changed, or would change.

    reloads
        The reasons for which firewalld was reloaded.
    meaning
        Sentences about what the changes mean for clients.
    in_step
        What is said if nothing differs.
    broken_promises
        Those of the notices that are about promises which are broken.
    """

    differences: Differences = ()
    reloads: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    meaning: tuple[str, ...] = ()
    broken_promises: tuple[str, ...] = ()
    in_step: str = "firewalld and the kernel match the tables"

    @property
    def changes(self) -> Mapping[str, Any]:
        """The differences in their public form."""
        return as_changes(self.differences)

    def comment(self, *, test: bool) -> str:
        """Return the result in sentences."""
        if not self.differences:
            done = self.in_step
        else:
            layers = ", ".join(dict.fromkeys(each.layer for each in self.differences))
            names = ", ".join(sorted({each.title for each in self.differences}))
            done = f"{'would change' if test else 'changed'} {layers}: {names}"
        reloads = [f"reload: {reason}" for reason in self.reloads]
        return "\n".join([done, *self.meaning, *reloads, *self.notices])
