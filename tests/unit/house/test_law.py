"""
The law of the house that import-linter does not know: the size of files and functions, names that
can be told apart, and what the thin files that Salt loads may import.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ENGINE = ROOT / "_utils/k3sfw_engine"
LONGEST_FILE, LONGEST_FUNCTION = 450, 50
# Salt loads these; their docstrings are the reference that sys.doc shows, and count for nothing.
THIN = ("_beacons", "_grains", "_modules", "_output", "_runners", "_states")
# What a thin file needs: the verbs, how pillar is read, the errors that it translates, and what it
# has to give the verbs.
OPEN_TO_THIN = re.compile(
    r"k3sfw_engine\.(cluster_pillar|commands|errors|fleet|master|model|port_tables)\b"
    r"|k3sfw_engine\.checks\.ports\.questions_to_peers$"
    r"|k3sfw_engine\.host$"
    r"|k3sfw_engine\.transaction\.(commit_options|still_reachable)$"
)
# An ending is cut only if enough of the word is left.
_ENDINGS = re.compile("(ations?|ables?|ments?|ings?|ions?|ers?|ors?|ies|ied|es|ed|al|s|e|y|d)$")
_SHORTEST_STEM = 3


def parsed(*folders):
    """Each Python file below these folders, with its syntax tree."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def functions(tree):
    return [
        node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def lines_of(node):
    return node.end_lineno - node.lineno + 1


def lines_of_docstring(function):
    return lines_of(function.body[0]) if ast.get_docstring(function) else 0


def stem(word):
    """The word without its endings: zone of zoning, zones and zoned is the same."""
    shorter = _ENDINGS.sub("", word.lower())
    return word.lower() if len(shorter) < _SHORTEST_STEM or shorter == word else stem(shorter)


def stems(name):
    """The stems of a name's words, be it snake_case or CamelCase."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return tuple(map(stem, words))


def look_alikes(names):
    """Names that differ only in the endings of their words."""
    by_stems = defaultdict(set)
    for name in names:
        by_stems[stems(name)].add(name)
    return [sorted(alike) for alike in by_stems.values() if len(alike) > 1]


def modules_of(*folders):
    return {path.stem for path, _tree in parsed(*folders) if not path.stem.startswith("__")}


def types_of(*folders):
    return [
        node.name
        for _path, tree in parsed(*folders)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]


def test_no_file_of_the_engine_or_the_lab_has_more_than_450_lines():
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path, _tree in parsed("_utils", "lab")
    }
    assert {name: size for name, size in sizes.items() if size > LONGEST_FILE} == {}


def test_no_function_that_salt_calls_has_more_than_50_lines_of_code():
    sizes = {
        f"{path.relative_to(ROOT)}:{function.name}": lines_of(function)
        - lines_of_docstring(function)
        for path, tree in parsed(*THIN)
        for function in functions(tree)
    }
    assert {name: size for name, size in sizes.items() if size > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("folder", ["_utils", "lab"])
def test_no_two_modules_have_names_that_differ_only_in_their_endings(folder):
    assert look_alikes(modules_of(folder)) == []


@pytest.mark.parametrize("folder", ["_utils", "lab"])
def test_no_two_types_have_names_that_differ_only_in_their_endings(folder):
    assert look_alikes(types_of(folder)) == []


def test_no_two_types_of_the_engine_have_the_same_name():
    names = types_of("_utils")
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_names_that_look_alike_are_found():
    assert look_alikes({"zones", "zoning", "zone_facts"}) == [["zones", "zoning"]]
    assert look_alikes({"LiveConnection", "LiveConnections"}) == [
        ["LiveConnection", "LiveConnections"]
    ]
    assert look_alikes({"policy_steps", "ipset_steps", "steps", "plan", "observed"}) == []


def test_thin_files_know_the_verbs_and_little_else_of_the_engine():
    imported = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path, tree in parsed(*THIN)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0
        for module in [node.module or ""]
        if module.startswith("k3sfw_engine.") and not OPEN_TO_THIN.match(module)
    }
    assert imported == set()


def test_no_function_of_the_engine_or_the_lab_has_more_than_50_lines():
    sizes = {
        f"{path.relative_to(ROOT)}:{function.name}": lines_of(function)
        for path, tree in parsed("_utils", "bench", "lab", "saltext_k3sfw")
        for function in functions(tree)
    }
    assert {name: size for name, size in sizes.items() if size > LONGEST_FUNCTION} == {}


def test_the_map_of_the_house_names_every_package():
    packages = {path.parent for path in ENGINE.rglob("__init__.py")}
    for package in sorted(packages):
        tree = ast.parse((package / "__init__.py").read_text())
        doc = ast.get_docstring(tree) or ""
        rooms = [each.stem for each in package.iterdir() if each.suffix == ".py"]
        folders = [each.name for each in package.iterdir() if (each / "__init__.py").exists()]
        missing = [
            name
            for name in [*rooms, *folders]
            if name != "__init__" and not re.search(rf"\b{name}\b", doc)
        ]
        assert missing == [], f"the map in {package.relative_to(ROOT)}/__init__.py lacks these"


def evaluated(node):
    """The parts of a syntax tree that run: annotations do not, below the import from __future__."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child
                yield from evaluated(child)


def unions_with_none(tree):
    return [
        node.lineno
        for node in evaluated(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.BitOr)
        and any(
            isinstance(side, ast.Constant) and side.value is None
            for side in (node.left, node.right)
        )
    ]


def test_nothing_is_evaluated_that_python_3_9_cannot():
    """There, ``type | None`` is an error, except in an annotation."""
    assert unions_with_none(ast.parse("Ports = tuple[int, str | None]")) == [1]
    assert not unions_with_none(
        ast.parse("def f(a: str | None) -> int | None:\n    b: int | None = 1")
    )
    for path, tree in parsed("_utils", *(folder for folder in THIN if (ROOT / folder).exists())):
        assert not unions_with_none(tree), path
