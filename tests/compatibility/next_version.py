"""A version to come: the tree under test with another version, and what a version may change."""

from __future__ import annotations

from pathlib import Path

from k3sfw_engine import __version__

NEXT = "99.1.0"
# A row that a version adds to the defaults.
NEW_ROW = """
newcomer:
  protocol: tcp
  port: 9955
  source: any
  destination: any
  description: Of the next version
"""


def next_version(tree: Path) -> None:
    """Raise the version in every file that has it."""
    found = 0
    for file in tree.rglob("*.py"):
        text = file.read_text()
        if f'__version__ = "{__version__}"' in text:
            file.write_text(
                text.replace(f'__version__ = "{__version__}"', f'__version__ = "{NEXT}"')
            )
            found += 1
    assert found >= 3, f"{found} files have the version"


def with_a_row_more(tree: Path) -> None:
    """The next version, whose default tables have a row more."""
    next_version(tree)
    with (tree / "pillar/k3s/tables/cluster.yaml").open("a") as file:
        file.write(NEW_ROW)


def with_other_objects(tree: Path) -> None:
    """The next version, whose objects look different, and which keeps its state in another form.

    A description cannot change at runtime: firewalld must be reloaded once.
    """
    next_version(tree)
    _replace(tree, "model/firewall_objects.py", "Kept by k3sfw from pillar", "Written by k3sfw")
    _replace(tree, "transaction/kept_tables.py", "_FORMAT = 1", "_FORMAT = 2")


def _replace(tree: Path, module: str, old: str, new: str) -> None:
    file = tree / "_utils/k3sfw_engine" / module
    text = file.read_text()
    assert old in text, f"{module} has no {old!r}"
    file.write_text(text.replace(old, new))
