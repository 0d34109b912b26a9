"""The pages and what they are about: links lead somewhere, and lists are complete."""

import ast
import configparser
import re

import pytest

from k3sfw_engine.checks.verdicts import Status
from tests.paths import ROOT

ENGINE = ROOT / "_utils/k3sfw_engine"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
ONE_SCREEN = 50


def name_of(path):
    return str(path.relative_to(ROOT))


def text_of(page):
    return (ROOT / page).read_text()


def anchors(page):
    """The headings of a page as a forge makes anchors of them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def public_functions(path):
    return [
        node.name
        for node in ast.parse((ROOT / path).read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        path, _hash, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_names_every_page():
    index = text_of("docs/README.md")
    for page in ROOT.glob("docs/*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_the_readme_is_one_screen():
    assert len(text_of("README.md").splitlines()) <= ONE_SCREEN


@pytest.mark.parametrize("path", ["_modules/k3sfw.py", "_runners/k3sfw.py", "_states/k3sfw.py"])
def test_every_function_and_state_is_listed(path):
    listed = text_of("docs/functions.md")
    for name in public_functions(path):
        assert re.search(rf"^\| `k3sfw\.{name}[ `]", listed, re.MULTILINE), name


def test_every_status_of_a_check_is_explained_with_its_severity():
    explained = {
        name: severity
        for names, severity in re.findall(
            r"^\| (`[a-z_`, ]+`) \| ([A-Z]+) \|", text_of("docs/checks.md"), re.MULTILINE
        )
        for name in re.findall(r"[a-z_]+", names)
    }
    assert explained == {status.value: status.severity.value for status in Status}


def test_the_map_names_every_package_and_only_files_that_exist():
    text = text_of("docs/architecture.md")
    packages = {path.parent.name for path in ENGINE.glob("*/__init__.py")}
    assert packages == set(re.findall(r"^\| `(\w+)/` \| ", text.split("## The engine")[1], re.M))
    for path in re.findall(rf"`((?:{'|'.join(packages)})/[\w/]+)`", text):
        assert (ENGINE / f"{path}.py").exists() or (ENGINE / path).is_dir(), path


def test_the_law_is_told_as_it_is_checked():
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    layers = contracts["importlinter:contract:layers"]["layers"].strip()
    assert f"```\n{layers}\n```" in text_of("docs/architecture.md")
