"""The folder in which Salt finds the cache driver of previews, and nothing else.

k3sfw_preview    the master's cache, read and never written
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

# The option of the master with the name of its own driver.
OF_MASTER = "k3sfw_preview_of"


def preview_options(opts: dict[str, Any], driver: ModuleType) -> dict[str, Any]:
    """Return the options of Salt by which nothing that compiles a pillar writes to the cache.

    driver
        ``k3sfw_preview``, imported: that it is missing would not be noticed by Salt.
    """
    folders = [*opts.get("cache_dirs", ()), str(Path(str(driver.__file__)).parent)]
    name = driver.__name__.rpartition(".")[2]
    return {"cache": name, OF_MASTER: opts.get("cache", "localfs"), "cache_dirs": folders}
