"""Connect to the system bus, also where it is busy."""

from __future__ import annotations

import time

from jeepney.io.blocking import DBusConnection, open_dbus_connection

from k3sfw_engine.host.defaults import BUS_POLL, BUS_SECONDS


def open_system_bus() -> DBusConnection:
    """Connect to the system bus; wait while more callers than it can queue do so.

    Raises ``TimeoutError`` if it takes no connection in time, another ``OSError`` if it cannot be
    reached, and ``AuthenticationError`` if it refuses this process.
    """
    ends_at = time.monotonic() + BUS_SECONDS
    while True:
        try:
            return open_dbus_connection("SYSTEM", auth_timeout=BUS_SECONDS)
        except BlockingIOError as error:
            # A socket with a deadline does not wait for a place in a full queue.
            if time.monotonic() > ends_at:
                raise TimeoutError("its queue stays full") from error
            time.sleep(BUS_POLL)
