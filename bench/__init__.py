"""Benchmarks, run by ``make bench``: each ratio is measured within one run. None is a test.

The tools side by side, which docs/benchmarks.md shows:

    rules       what each tool applies, as data
    tools       the tools under test, a file each, all by one interface
    cases       what is done with each of them, in which order
    measure     what one command costs; ``launcher`` runs it inside a host
    proof       shows with packets that a tool did what it was asked for
    compare     goes through the cases with each tool
    record      what was ever measured, ``figures.json``; ``table`` writes the page from it

Growth with the nodes, on the same page:

    fleet       every computation of a node and of the master, for a cluster of any size
    work        the same as a count, with which a test holds the growth

What is printed only, one matter each: ``profile_apply``, ``transactions``, ``start``, ``checks``,
``readers``, ``pillar_nodes``, ``cluster_check``, ``page``.
"""

import sys
from pathlib import Path

# The engine lies where Salt syncs it from; nothing is installed for a benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_utils"))
