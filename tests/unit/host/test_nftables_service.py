"""Which tables a file of nft makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from k3sfw_engine.host import nftables_service
from k3sfw_engine.host.nftables_service import tables_of_file

FILES = {
    "one of a family": ("table inet site {\n}\n", [("inet", "site")]),
    "one without a word for its family": ("table filter { }\n", [("ip", "filter")]),
    "added on a line": ("add table ip6 six\n", [("ip6", "six")]),
    "several on a line": ("add table ip a; add table ip b;\n", [("ip", "a"), ("ip", "b")]),
    "indented, with tabs": ("\ttable\tinet\tsite\t{\n", [("inet", "site")]),
    "a comment about one": ("# table inet site {\n", []),
    "deleted": ("delete table inet site\n", []),
    "nothing": ("", []),
}


@pytest.mark.parametrize(("text", "found"), FILES.values(), ids=FILES)
def test_the_tables_of_a_file_are_known(tmp_path: Path, text: str, found: object) -> None:
    file = tmp_path / "nftables.conf"
    file.write_text(text)
    assert list(tables_of_file(file)) == found


def test_included_files_count_and_a_loop_of_them_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nftables_service, "_INCLUDES", str(tmp_path))
    file = tmp_path / "nftables.conf"
    file.write_text(f'include "parts/*.nft"\ninclude "{file}"\n')
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/one.nft").write_text("table ip one {}\n")
    assert set(tables_of_file(file)) == {("ip", "one")}


def test_a_file_that_cannot_be_read_makes_no_table(tmp_path: Path) -> None:
    assert list(tables_of_file(tmp_path / "missing")) == []
