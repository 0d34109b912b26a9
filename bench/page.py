"""The page of a cluster: how long it takes to build and to open, and how large it is."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from k3sfw_engine.fleet.page.build import build_page
from tests.headless_chromium import chromium, opened
from tests.page_files import LARGE_FAULTS, page_sources
from tests.simulated_fleet import simulated_fleet

SIZES = (5, 300, 1000, 5000)
# For 300 nodes: seconds to build and to open, and megabytes.
TOO_LONG, TOO_SLOW, TOO_LARGE = 5.0, 2.0, 5.0


def main() -> None:
    """Print each figure, and its growth."""
    sources = page_sources()
    print("The page of a cluster, opened in Chromium until its picture is drawn")
    print("  nodes     build      open       size")
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            cluster = simulated_fleet(size, LARGE_FAULTS if size >= 300 else ())
            began = time.perf_counter()
            page = build_page(cluster, sources)
            built = time.perf_counter() - began
            file = Path(folder) / f"{size}.html"
            file.write_text(page.html)
            with opened(browser, file) as found:
                taken = found.page.evaluate(_OPENED) / 1000
            megabytes = file.stat().st_size / 1e6
            print(f"{size:7} {built:8.2f}s {taken:8.2f}s {megabytes:8.2f}MB")
            if size == 300:
                _judge(built, taken, megabytes)


# From the first byte until two frames after the script was done: then it is on the screen.
_OPENED = """() => new Promise(
  done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())))
)"""


def _judge(built: float, taken: float, megabytes: float) -> None:
    if built > TOO_LONG:
        print(f"  more than {TOO_LONG:g} s to build")
    if taken > TOO_SLOW:
        print(f"  more than {TOO_SLOW:g} s to open")
    if megabytes > TOO_LARGE:
        print(f"  more than {TOO_LARGE:g} MB")


if __name__ == "__main__":
    main()
