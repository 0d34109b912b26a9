"""Whether firewalld is stopped, so that its files are all there is of it."""

from __future__ import annotations

from k3sfw_engine.firewalld.dbus import firewalld_is_there
from k3sfw_engine.host.filter_chains import read_chain_names
from k3sfw_engine.host.image import is_image

# With the nftables backend, between its tables, and with the backend of iptables.
_ITS_CHAINS = (
    "inet firewalld ",
    "inet firewalld_",
    "ip filter INPUT_ZONES",
    "ip6 filter INPUT_ZONES",
)


def is_stopped() -> bool:
    """Whether no firewalld runs and none left its rules in the kernel, or this is an image.

    One that was killed, or whose bus is gone, is not stopped: its rules are in force.

    Raises ``FirewalldUnavailable`` if the kernel's chains cannot be listed.
    """
    if is_image():
        return True
    return not (
        firewalld_is_there() or any(name.startswith(_ITS_CHAINS) for name in read_chain_names())
    )
