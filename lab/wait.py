"""Waiting for something to become so, with an end."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.errors import LabError


def wait_until(
    happened: Callable[[], bool], missing: str, *, timeout: float, every: float = 0.1
) -> None:
    """Ask until the answer is yes; the error says that ``missing`` never came."""
    end = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > end:
            raise LabError(f"{missing} within {timeout:.0f} s.")
        time.sleep(every)
