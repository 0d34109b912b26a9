"""Wait for a condition, with a timeout."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.errors import LabError


def wait_until(
    happened: Callable[[], bool], missing: str, *, timeout: float, every: float = 0.1
) -> None:
    """Wait until ``happened`` returns true; a timeout is an error that says ``missing``."""
    end = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > end:
            raise LabError(f"{missing} within {timeout:.0f} s.")
        time.sleep(every)
