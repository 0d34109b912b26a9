"""The fragments in changelog/ become the next section of CHANGELOG.md, as towncrier writes it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from packaging.version import Version

import k3sfw_engine
from tests.paths import ROOT

FRAGMENTS = sorted((ROOT / "changelog").glob("[!.]*"))
TYPES = ("breaking", "removed", "deprecated", "changed", "fixed", "added", "security")
NAME = re.compile(rf"(?:\+[a-z0-9-]+|\d+)\.(?:{'|'.join(TYPES)})\.md")
RELEASES = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def words(text):
    return " ".join(text.split())


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_has_a_type_and_one_paragraph_with_links_from_the_top(path):
    assert NAME.fullmatch(path.name)
    text = path.read_text()
    assert text.endswith(".\n")
    assert not re.search(r"\n\s*\n|^[-*#] ", text, re.MULTILINE)
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / link.partition("#")[0]).exists(), link


def test_a_release_would_list_every_fragment_below_its_type():
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9.9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, *chapters = done.stdout.split("\n### ")
    listed = {
        (chapter.partition("\n")[0].lower(), words(entry))
        for chapter in chapters
        for entry in chapter.split("\n- ")[1:]
    }
    expected = {(path.name.split(".")[-2], words(path.read_text())) for path in FRAGMENTS}
    assert listed == expected
    assert not FRAGMENTS or head.startswith("## [9.9.9] - ")


def test_the_version_is_that_of_the_last_release_or_a_development_version_after_it():
    version = Version(k3sfw_engine.__version__)
    newest = Version(RELEASES[0])
    if FRAGMENTS:
        assert version.is_devrelease
        assert version > newest
    else:
        assert version == newest
