"""One Chromium for the tests of a file, and pages on disk as an operator opens them."""

import pytest

from tests.headless_chromium import chromium
from tests.page_files import fleet_of, page_of


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """Write the page of a cluster with so many nodes, once."""
    folder = tmp_path_factory.mktemp("pages")

    def write(nodes):
        file = folder / f"{nodes}.html"
        if not file.exists():
            file.write_text(page_of(fleet_of(nodes)))
        return file

    return write


@pytest.fixture
def write_page(tmp_path):
    def write(cluster, previous=None):
        file = tmp_path / "page.html"
        file.write_text(page_of(cluster, previous))
        return file

    return write
