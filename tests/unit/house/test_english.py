"""No text of the project falls back into wordings that docs/style.md replaced."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXTS = ("*.py", "*.md", "*.sls", "*.jinja", "*.yaml", "*.example", "*.service", "*.sh", "Makefile")
FOLDERS = [
    "_grains",
    "_modules",
    "_output",
    "_runners",
    "_states",
    "_utils",
    "bench",
    "changelog",
    "docs",
    "lab",
    "pillar",
    "salt",
    "saltext_k3sfw",
    "tests",
]
# These quote the words.
QUOTING = {"CHANGELOG.md", "docs/style.md", "tests/unit/house/test_english.py"}
# Part of an object in firewalld: another text would change the objects of every node.
STORED = {("_utils/k3sfw_engine/plan/desired/compute.py", "somebody")}
WORDINGS = {
    "mend": r"\b[Mm]end(?:s|ed|ing)?\b",
    "somebody": r"\b(?:[Ss]ome|[Nn]o|[Aa]ny|[Ee]very)body\b",
    "whom": r"\b[Ww]ho(?:m|ever)\b",
    "he": r"\b(?:[Hh]e|[Hh]is|[Hh]im|[Hh]imself)\b",
    "is no": r"(?<![Tt]here )(?<![Tt]here\n)\b(?:is|are|was|were)\s+no\b(?!\s+(?:longer|more)\b)",
    "Have": r'"""\s*Have\b',
}


def texts():
    paths = [path for glob in TEXTS for path in ROOT.glob(glob)]
    paths += [path for folder in FOLDERS for glob in TEXTS for path in (ROOT / folder).rglob(glob)]
    for path in sorted(set(paths)):
        name = str(path.relative_to(ROOT))
        if name not in QUOTING and path.is_file():
            yield name, path.read_text()


@pytest.mark.parametrize("wording", WORDINGS)
def test_no_text_uses_a_wording_that_was_replaced(wording):
    found = {
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}": match[0]
        for name, text in texts()
        if (name, wording) not in STORED
        for match in re.finditer(WORDINGS[wording], text)
    }
    assert found == {}


@pytest.mark.parametrize(
    ("wording", "text"),
    [
        ("mend", "not in force. Mend: salt s1 state.apply"),
        ("somebody", "Somebody else's"),
        ("whom", "the nodes by whom it is asked"),
        ("he", "what he lets through"),
        ("is no", "a host that is no node"),
        ("Have", '"""\n    Have the files as they were.'),
    ],
)
def test_a_replaced_wording_is_found(wording, text):
    assert re.search(WORDINGS[wording], text)


@pytest.mark.parametrize("text", ["there is no route", "it is no longer there", "the amendment"])
def test_plain_english_is_not_taken_for_one(text):
    assert not any(re.search(pattern, text) for pattern in WORDINGS.values())
