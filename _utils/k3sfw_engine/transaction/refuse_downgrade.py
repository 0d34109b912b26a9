"""Refuses to write over what a newer version of k3sfw has proven on this host.

Two masters with files of different versions, or a branch that went back, would otherwise make and
unmake the same rules in turn, and this version may not know all that the newer one wrote.
"""

from __future__ import annotations

from k3sfw_engine import __version__
from k3sfw_engine.errors import EngineError
from k3sfw_engine.model.version_order import is_newer
from k3sfw_engine.transaction import messages
from k3sfw_engine.transaction.kept_tables import version_of_kept_tables


def refuse_downgrade(*, allowed: bool, stopped: bool = False) -> None:
    """Raise ``EngineError`` if a newer version made what is in force, unless that is allowed.

    stopped
        Whether firewalld is stopped on a host that runs.
    """
    version = version_of_kept_tables()
    if is_newer(version, __version__) and not allowed:
        raise EngineError([messages.made_by_newer(version, __version__, stopped=stopped)])
