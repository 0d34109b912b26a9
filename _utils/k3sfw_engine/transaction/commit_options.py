"""How a change proves itself, and under which name it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from k3sfw_engine.transaction.still_reachable import Proof


@dataclass(frozen=True)
class CommitOptions:
    """What the caller decides about a change, besides what is changed.

    what
        The command that makes it.
    job
        Returns the number of Salt's job. It is called only if something changes.
    proof
        What must work afterwards as it did before.
    confirm_within
        The seconds within which the operator has to confirm the change; 0 if the proof is enough.
    tables
        The tables that the change is made from, as ``kept_tables`` keeps them once it is confirmed.
    """

    what: str = "apply"
    job: Callable[[], str] = str
    proof: Proof = field(default_factory=Proof)
    confirm_within: float = 0.0
    tables: str = ""


NO_CONFIRMATION = CommitOptions()
