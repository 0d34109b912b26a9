"""Rows are found in the files in which an operator changes them."""

from __future__ import annotations

from k3sfw_engine.cluster_pillar.lines_of_pillar import lines_of_pillar
from tests.paths import PILLAR

SITE = """\
k3s:
  ports:
    cluster:
      etcd: {source: any}
  groups:
    admins: [192.0.2.0/24]
"""


def test_the_line_of_the_site_wins_over_that_of_the_defaults(tmp_path):
    (tmp_path / "k3s").mkdir()
    (tmp_path / "k3s/site.sls").write_text(SITE)
    lines = lines_of_pillar([str(tmp_path), str(PILLAR)])
    assert lines["k3s:ports:cluster:etcd"] == "k3s/site.sls:4"
    assert lines["k3s:groups:admins"] == "k3s/site.sls:6"
    file, _colon, line = lines["k3s:ports:manager:grafana"].rpartition(":")
    assert (PILLAR / file).read_text().splitlines()[int(line) - 1] == "grafana:"


def test_files_that_are_no_yaml_or_not_there_have_no_lines(tmp_path):
    (tmp_path / "k3s").mkdir()
    for text in (b"{% set x = 1 %}\n{{ x }}: [", b"\xff\xfe", b"- a list", b""):
        (tmp_path / "k3s/site.sls").write_bytes(text)
        assert lines_of_pillar([str(tmp_path), str(tmp_path / "missing")]) == {}
