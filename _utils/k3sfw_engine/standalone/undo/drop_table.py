"""The table that drops every new connection: whether a reload or panic mode of firewalld made it.

The only place that knows its chains, for the engine too. Pure: the caller reads the kernel.
"""

from typing import Callable

DROP_TABLE = "firewalld_policy_drop"

# firewall/core/nftables.py, build_set_policy_rules, the same in 0.9 to 2.5: panic mode hooks in
# before connections are tracked, a reload only after that, so that live ones go on.
_PANIC_CHAINS = ("raw_prerouting", "raw_output")
_RELOAD_CHAIN = "filter_input"

PANIC, RELOAD, UNKNOWN = "panic", "reload", "unknown"


def made_by(has_chain: Callable[[str], bool]) -> str:
    """What made the table: ``panic``, ``reload`` or ``unknown``.

    has_chain
        Whether the table has a chain of this name.
    """
    if any(has_chain(chain) for chain in _PANIC_CHAINS):
        return PANIC
    return RELOAD if has_chain(_RELOAD_CHAIN) else UNKNOWN
