"""A source is read as it is typed, and a git reference shows what the repository had there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from k3sfw_engine.cluster_pillar.pillar_source import Origin, PillarPlace, opened, parse_source
from k3sfw_engine.errors import EngineError


@pytest.mark.parametrize(
    ("typed", "origin", "value", "repository"),
    [
        ("live", Origin.LIVE, "live", ""),
        ("kept", Origin.KEPT, "kept", ""),
        ("base", Origin.ENVIRONMENT, "base", ""),
        ("ref:main~1", Origin.REFERENCE, "main~1", ""),
        ("ref:main@{upstream}", Origin.REFERENCE, "main@{upstream}", ""),
        ("ref:/srv/pillar@v1", Origin.REFERENCE, "v1", "/srv/pillar"),
        ("/srv/pillar", Origin.FOLDER, "/srv/pillar", ""),
        ("./pillar,/srv/k3sfw", Origin.FOLDER, "./pillar,/srv/k3sfw", ""),
    ],
)
def test_each_form_of_a_source_is_read(typed, origin, value, repository):
    source = parse_source("new", typed)
    assert (source.origin, source.value, source.repository) == (origin, value, repository)
    assert str(source) == typed


@pytest.mark.parametrize("typed", ["", " ", None, 3, ["base"], {"a": 1}])
def test_what_is_not_a_source_is_refused(typed):
    with pytest.raises(EngineError):
        parse_source("old", typed)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two versions of a site's pillar, and a pillar root in it."""
    root = tmp_path / "repository/pillar"
    (root / "k3s").mkdir(parents=True)
    git(tmp_path / "repository", "init", "--quiet", "--initial-branch=main")
    for version in ("first", "second"):
        (root / "k3s/site.sls").write_text(version)
        git(tmp_path / "repository", "add", "--all")
        git(tmp_path / "repository", "commit", "--quiet", f"--message={version}")
    return root


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    done = subprocess.run(
        ["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def place_of(typed: str, *roots: Path, others: bool = False):
    return opened(parse_source("new", typed), {"base": list(map(str, roots))}, others)


def test_a_reference_shows_the_repository_as_it_was_and_leaves_nothing(repository, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    before = git(repository, "status", "--short"), git(repository, "worktree", "list")
    with place_of("ref:main~1", other, repository) as place:
        kept, extracted = place.roots["base"]
        assert kept == str(other)
        assert Path(extracted, "k3s/site.sls").read_text() == "first"
    assert not Path(extracted).exists()
    assert (git(repository, "status", "--short"), git(repository, "worktree", "list")) == before
    assert (repository / "k3s/site.sls").read_text() == "second"


def test_a_reference_can_name_its_repository(repository, tmp_path):
    with place_of(f"ref:{repository.parent}@main", repository) as place:
        assert Path(place.roots["base"][0], "k3s/site.sls").read_text() == "second"
    with pytest.raises(EngineError), place_of(f"ref:{tmp_path}@main", repository):
        pass


@pytest.mark.parametrize("reference", ["ref:nowhere", "ref:--output=x", "ref:"])
def test_a_reference_that_git_does_not_know_is_refused(reference, repository):
    with pytest.raises(EngineError), place_of(reference, repository):
        pass


def test_a_reference_needs_a_pillar_root_in_a_repository(tmp_path):
    with pytest.raises(EngineError), place_of("ref:main", tmp_path):
        pass


def test_a_folder_takes_the_place_of_the_roots_of_the_site_and_not_of_k3sfw_s_own(tmp_path):
    site, own, new = (tmp_path / name for name in ("site", "own", "new"))
    for folder in (site, own / "k3s", new / "k3s"):
        folder.mkdir(parents=True)
    (own / "k3s/ports.sls").touch()
    with place_of(f"{new}/", site, own) as place:
        assert place == PillarPlace(roots={"base": (str(new), str(own))})
    with place_of(f"{new},{own}", site, own) as place:
        assert place == PillarPlace(roots={"base": (str(new), str(own))})
    with pytest.raises(EngineError), place_of(f"{tmp_path}/missing", site, own):
        pass


def test_a_folder_that_is_not_a_pillar_root_is_refused_and_those_inside_are_named(tmp_path):
    for name in ("pillar/k3s", "more", "salt"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "more/top.sls").touch()
    with pytest.raises(EngineError) as refused, place_of(str(tmp_path)):
        pass
    (problem,) = refused.value.problems
    assert problem.fix == f"give {tmp_path}/more or {tmp_path}/pillar"
    typed = f"{tmp_path}/salt,{tmp_path}/pillar,{tmp_path}/missing"
    with pytest.raises(EngineError) as refused, place_of(typed):
        pass
    assert len(refused.value.problems) == 2
    with place_of(f"{tmp_path}/pillar,{tmp_path}/more") as place:
        assert len(place.roots["base"]) == 2


def test_a_reference_without_a_pillar_root_of_today_is_refused(repository):
    later = repository.parent / "later"
    (later / "k3s").mkdir(parents=True)
    with pytest.raises(EngineError) as refused, place_of("ref:main", repository, later):
        pass
    assert "has no later there" in refused.value.sentences[0]


@pytest.mark.parametrize("typed", ["~no-such-user/pillar", "ref:~no-such-user@main"])
def test_a_user_that_does_not_exist_has_no_folder(typed, repository):
    with pytest.raises(EngineError), place_of(typed, repository):
        pass


def test_only_one_side_of_a_difference_can_be_what_nodes_answer():
    with pytest.raises(EngineError) as refused:
        parse_source("new", "")
    assert "live" not in refused.value.problems[0].fix
    with pytest.raises(EngineError) as refused:
        parse_source("old", "")
    assert "live" in refused.value.problems[0].fix


def test_other_environments_stay_beside_a_folder_and_follow_a_reference(repository, tmp_path):
    stage, inside = tmp_path / "stage", repository.parent / "east"
    stage.mkdir()
    (inside / "k3s").mkdir(parents=True)
    (inside / "k3s/site.sls").touch()
    git(repository, "add", "--all", "..")
    git(repository, "commit", "--quiet", "--message=east")
    roots = {"base": [str(repository)], "stage": [str(stage)], "east": [str(inside)]}
    with opened(parse_source("new", f"{inside}"), roots, False) as place:
        assert place.roots == {**roots, "base": (str(inside),)}
    with opened(parse_source("new", "ref:main"), roots, False) as place:
        assert {name: len(of_one) for name, of_one in place.roots.items()} == dict.fromkeys(
            roots, 1
        )
        assert place.roots["stage"] == (str(stage),)
        assert Path(place.roots["east"][0], "k3s/site.sls").exists()
        assert place.roots["east"] != (str(inside),)


def test_an_environment_must_exist_where_all_are_known(tmp_path):
    with place_of("base", tmp_path) as place:
        assert place == PillarPlace()
    with pytest.raises(EngineError), place_of("stage", tmp_path):
        pass
    with place_of("stage", tmp_path, others=True) as place:
        assert place == PillarPlace("stage")
