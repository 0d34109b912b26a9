"""Where rows and promises stand in the files of the pillar: file and line, as far as YAML tells.

A file with Jinja is not YAML before it is rendered; what it has stays without a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from k3sfw_engine.model.rows import ROOT

# The files of the defaults have no keys above the names: they are put below these.
_DEFAULTS = {
    "k3s/tables/cluster.yaml": f"{ROOT}:ports:cluster",
    "k3s/tables/manager.yaml": f"{ROOT}:ports:manager",
    "k3s/tables/tests.yaml": f"{ROOT}:tests",
}
_SITE = "k3s/site.sls"
# Below these keys stand names whose lines are of interest.
_PARENTS = (f"{ROOT}:tests", f"{ROOT}:groups", f"{ROOT}:nodes")
_LARGEST = 1_000_000


def lines_of_pillar(roots: Iterable[str]) -> Mapping[str, str]:
    """Return ``file:line`` by pillar path; the site's own line wins over that of the defaults."""
    found: dict[str, str] = {}
    # Of several roots Salt takes the first that has a file.
    for root in reversed(list(roots)):
        for name, parent in _DEFAULTS.items():
            found.update(_named(Path(root, name), name, parent))
    for root in reversed(list(roots)):
        found.update(_of_site(Path(root, _SITE)))
    return found


def _named(path: Path, name: str, parent: str) -> Iterator[tuple[str, str]]:
    for key, line, _value in _entries(_composed(path)):
        yield f"{parent}:{key}", f"{name}:{line}"


def _of_site(path: Path) -> Iterator[tuple[str, str]]:
    tree = _at(_composed(path), ROOT)
    for parent in _PARENTS:
        for key, line, _value in _entries(_at(tree, parent.rpartition(":")[2])):
            yield f"{parent}:{key}", f"{_SITE}:{line}"
    for table, _line, rows in _entries(_at(tree, "ports")):
        for key, line, _value in _entries(rows):
            yield f"{ROOT}:ports:{table}:{key}", f"{_SITE}:{line}"


def _composed(path: Path) -> yaml.Node | None:
    try:
        if path.stat().st_size > _LARGEST:
            return None
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _at(node: yaml.Node | None, key: str) -> yaml.Node | None:
    return next((value for name, _line, value in _entries(node) if name == key), None)


def _entries(node: yaml.Node | None) -> Iterator[tuple[str, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield key.value, key.start_mark.line + 1, value
