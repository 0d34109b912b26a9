"""The folder in which Salt finds the cache driver of previews, and nothing else.

k3sfw_preview    the master's cache, read and never written
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_DRIVER = "k3sfw_preview"
# The option of the master with the name of its own driver.
OF_MASTER = "k3sfw_preview_of"


def preview_options(opts: dict[str, Any]) -> dict[str, Any]:
    """Return the options of Salt by which nothing that compiles a pillar writes to the cache."""
    folders = [*opts.get("cache_dirs", ()), str(Path(__file__).parent)]
    return {"cache": _DRIVER, OF_MASTER: opts.get("cache", "localfs"), "cache_dirs": folders}
