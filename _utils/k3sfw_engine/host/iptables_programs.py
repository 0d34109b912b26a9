"""Find iptables' programs for the ``nft`` or the ``legacy`` kind of its tables."""

from __future__ import annotations

from typing import Literal

from k3sfw_engine.host import run_program
from k3sfw_engine.host.flannel_files import data_folder

Kind = Literal["nft", "legacy"]


def find_iptables(kind: Kind, program: str) -> tuple[str, ...]:
    """The path of ``iptables-save`` and the like, and the word that it needs first, if any.

    Empty if it is not installed.
    """
    own = program.replace("tables-", f"tables-{kind}-")
    for name, *words in ([own], [f"xtables-{kind}-multi", program], [program]):
        path = run_program.find_program(name, *k3s_programs())
        if path is not None:
            return (path, *words)
    return ()


def k3s_programs() -> tuple[str, str]:
    """The folders with the programs that K3s brings for hosts without them."""
    folder = data_folder() / "data/current/bin"
    return str(folder / "aux"), str(folder)
