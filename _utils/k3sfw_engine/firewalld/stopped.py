"""Whether firewalld is stopped, so that its files are all there is of it."""

from __future__ import annotations

from k3sfw_engine.firewalld.dbus import firewalld_is_there
from k3sfw_engine.host.image import is_image
from k3sfw_engine.host.nft_command import finish_nft, start_nft

_TABLE = "table inet firewalld"


def is_stopped() -> bool:
    """Whether no firewalld runs and none left its rules in the kernel, or this is an image.

    One that was killed, or whose bus is gone, is not stopped: its rules are in force.

    Raises ``FirewalldUnavailable`` if the kernel's tables cannot be listed.
    """
    if is_image():
        return True
    if firewalld_is_there():
        return False
    listed = finish_nft(start_nft("list", "tables"))
    return listed.code == 0 and _TABLE not in listed.output.decode().splitlines()
