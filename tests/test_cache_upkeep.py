from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgekd import cache_upkeep, cli
from edgekd.artifact import Artifact
from edgekd.cache import Cache
from edgekd.cache_upkeep import Rules, chosen, entries
from edgekd.errors import UserError

HOUR, DAY = 3600.0, 86_400.0


def fill(root: Path, name: str, age: float = 0.0, size: int = 100, recipe: str = "r") -> Path:
    """Put an entry into a cache; returns its folder."""

    def make(out_dir: Path, work: Path) -> Artifact:
        (out_dir / "file.bin").write_bytes(b"x" * size)
        return Artifact.seal(out_dir, {})

    artifact, _ = Cache(root).run(name, make, {"name": name}, lambda made: {"recipe": recipe})
    stamp = time.time() - age
    os.utime(artifact.path.parent, (stamp, stamp))
    return artifact.path.parent


def leave(root: Path, name: str, age: float) -> Path:
    """Leave a work folder as a build that was broken off does."""
    folder = root / "work" / name
    folder.mkdir(parents=True)
    (folder / "checkpoint.npz").write_bytes(b"y" * 50)
    stamp = time.time() - age
    for path in (folder / "checkpoint.npz", folder):
        os.utime(path, (stamp, stamp))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    cache = tmp_path / "cache"
    fill(cache, "teacher", 10 * DAY, 1000)
    fill(cache, "distill", 1 * DAY, 2000, "own")
    fill(cache, "data", 0, 4000)
    leave(cache, "old", 2 * HOUR)
    leave(cache, "running", 60)
    (cache / "data").mkdir()
    (cache / "data" / "set.npz").write_bytes(b"z" * 77)
    return cache


def names(found: list[cache_upkeep.Entry]) -> list[str]:
    return [entry.stage or entry.key for entry in found]


def call(root: Path, *arguments: object, **options: object) -> Result:
    words = ["cache", *map(str, arguments), "--cache-dir", str(root)]
    return CliRunner().invoke(cli.main, words, **options)  # type: ignore[arg-type]


def test_entries_say_what_they_are(root: Path) -> None:
    found = entries(root)
    assert names(found) == ["data", "running", "old", "distill", "teacher"]
    distill = found[3]
    assert (distill.recipe, distill.finished, len(distill.key)) == ("own", True, 64)
    # Facts "{}\n" of 3 bytes and the 2,000 of the file are the artifact; the rest are the two small files beside it.
    beside = sum(path.stat().st_size for path in distill.path.glob("*.json"))
    assert distill.size == 2003 + beside
    assert found[1].size == 50
    assert distill.used == pytest.approx(time.time() - DAY, abs=60)
    assert distill.made == pytest.approx(time.time(), abs=60)
    assert cache_upkeep.downloads(root) == 77


def test_the_origin_is_no_part_of_the_artifact(root: Path) -> None:
    entry = next(entry for entry in entries(root) if entry.stage == "data")
    assert set(entry.origin) == {"stage", "time", "seconds", "resumed", "recipe"}
    assert entry.origin["resumed"] is False
    (entry.path / "origin.json").write_text("{")
    artifact, record = Cache(root).run("data", lambda *_: pytest.fail("it is there"), {"name": "data"})
    assert record.cached
    assert sorted(path.name for path in artifact.path.iterdir()) == ["facts.json", "file.bin"]
    broken = next(found for found in entries(root) if found.key == entry.key)
    assert (broken.stage, broken.recipe) == ("", "")


def test_a_stage_that_went_on_from_a_checkpoint_says_so(tmp_path: Path) -> None:
    key = hashlib.sha256(b'{"stage":"s"}').hexdigest()
    leave(tmp_path, key, 0)
    artifact, _ = Cache(tmp_path).run("s", lambda out, work: Artifact.seal(out, {}), {})
    assert json.loads((artifact.path.parent / "origin.json").read_text())["resumed"] is True


def test_use_is_noted(root: Path) -> None:
    Cache(root).run("teacher", lambda *_: pytest.fail("it is there"), {"name": "teacher"})
    teacher = next(entry for entry in entries(root) if entry.stage == "teacher")
    assert teacher.used == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules(), []),
        (Rules(older_than=2 * DAY), ["teacher"]),
        (Rules(older_than=HOUR), ["teacher", "distill", "old"]),
        (Rules(unfinished=True), ["old"]),
        (Rules(everything=True), ["teacher", "distill", "old", "data"]),
        (Rules(max_size=10**9), []),
        # teacher, of 1,000 bytes and a little, is enough to come from some 7,700 under 7,000.
        (Rules(max_size=7000), ["teacher"]),
        (Rules(max_size=0), ["teacher", "distill", "old", "data"]),
        # What goes by age leaves 4,000 and some, which needs nothing more.
        (Rules(older_than=HOUR, max_size=6000), ["teacher", "distill", "old"]),
    ],
)
def test_what_goes(root: Path, rules: Rules, expected: list[str]) -> None:
    assert names(chosen(entries(root), rules)) == expected


def test_removal(root: Path) -> None:
    going = chosen(entries(root), Rules(older_than=HOUR))
    assert cache_upkeep.remove(root, going) == sum(entry.size for entry in going)
    assert names(entries(root)) == ["data", "running"]
    assert not any(entry.path.parent.exists() for entry in going if entry.finished)
    assert (root / "data" / "set.npz").exists()
    assert sorted(path.name for path in (root / "work").iterdir()) == ["running"]
    assert cache_upkeep.remove(root, going) == 0  # another prune was first


def test_nothing_outside_is_removed(root: Path, tmp_path: Path) -> None:
    import dataclasses

    outside = tmp_path / "precious"
    outside.mkdir()
    entry = dataclasses.replace(entries(root)[0], path=outside)
    with pytest.raises(UserError, match="no folder of the cache"):
        cache_upkeep.remove(root, [entry])
    assert outside.is_dir()


def test_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (root / "work" / "link").symlink_to(outside)
    inside = entries(root)[-1].path / "artifact" / "link"
    inside.symlink_to(outside)
    cache_upkeep.remove(root, chosen(entries(root), Rules(everything=True)))
    assert (outside / "file").read_text() == "mine"
    assert "link" not in names(entries(root))


@pytest.mark.parametrize("stranger", ["photos/a.png", "ab/notes.txt", "letter.txt", "abc/x"])
def test_a_folder_that_is_no_cache_is_left_alone(root: Path, stranger: str) -> None:
    path = root / stranger
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = sorted(root.rglob("*"))
    for words in (("list",), ("prune", "--all", "--yes"), ("verify", "--remove")):
        result = call(root, *words)
        assert result.exit_code == 2
        assert f'"{root}" is no edgekd cache, it holds "{stranger.split("/")[0]}' in result.stderr
    assert sorted(root.rglob("*")) == before


def test_no_cache_is_said_so(tmp_path: Path) -> None:
    result = call(tmp_path / "none", "list")
    assert result.exit_code == 2
    assert "there is no cache at" in result.stderr
    result = call(tmp_path, "list")  # empty
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}: 0 finished, 0 unfinished, 0 B\n")


def test_list(root: Path) -> None:
    result = call(root, "list")
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0] == ["stage", "recipe", "size", "made", "used", "key"]
    assert [line[0] for line in lines[2:7]] == ["data", "(unfinished)", "(unfinished)", "distill", "teacher"]
    assert lines[5][1] == "own"
    assert lines[6][-4:-1] == ["10", "d", "ago"]
    assert f"{root}: 3 finished, 2 unfinished, " in result.stdout
    assert f"{root / 'data'}: 77 B" in result.stdout
    document = json.loads(call(root, "list", "--json").stdout)
    assert [row["stage"] for row in document["entries"]] == ["data", "", "", "distill", "teacher"]
    assert document["entries"][3]["recipe"] == "own"


def test_prune_says_asks_and_removes(root: Path) -> None:
    before = sorted(root.rglob("*"))
    result = call(root, "prune", "--older-than", "2d", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith("would remove 1 of 5, 1.")
    result = call(root, "prune", "--older-than", "2d", input="n\n")
    assert result.stdout.splitlines()[-1] == "nothing was removed"
    result = call(root, "prune", "--older-than", "2d", input="")
    assert result.exit_code == 2
    assert "nobody answered, and nothing was removed" in result.stderr
    assert sorted(root.rglob("*")) == before
    result = call(root, "prune", "--older-than", "2d", input="y\n")
    assert result.stdout.splitlines()[-1].startswith("removed 1 of 5, 1.")
    assert names(entries(root)) == ["data", "running", "old", "distill"]
    result = call(root, "prune", "--unfinished", "--yes")
    assert "1 unfinished, written to within the hour" in result.stderr
    assert names(entries(root)) == ["data", "running", "distill"]
    assert call(root, "prune", "--unfinished", "--yes").stdout == "nothing to remove\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what may go: --older-than 30d"),
        (["--older-than", "30"], '--older-than "30": a figure with its unit is wanted'),
        (["--older-than", "-1d"], '--older-than "-1d"'),
        (["--max-size", "big"], '--max-size "big": a figure with its unit'),
    ],
)
def test_prune_has_to_be_told_what(root: Path, words: list[str], message: str) -> None:
    result = call(root, "prune", *words, "--yes")
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("damage", ["changed", "added", "no digest", "no facts"])
def test_verify(root: Path, damage: str) -> None:
    result = call(root, "verify")
    assert (result.exit_code, result.stdout) == (0, f"{root}: 3 of 3 are as they were written\n")
    entry = next(entry for entry in entries(root) if entry.stage == "distill")
    match damage:
        case "changed":
            (entry.path / "artifact" / "file.bin").write_bytes(b"w" * 2000)
        case "added":
            (entry.path / "artifact" / "more").write_text("")
        case "no digest":
            (entry.path / "digest.json").unlink()
        case "no facts":
            (entry.path / "artifact" / "facts.json").unlink()
    result = call(root, "verify")
    assert result.exit_code == 1
    assert result.stdout.startswith(f"damaged: {entry.key[:12]} (stage distill): it")
    assert f"{root}: 2 of 3 are as they were written\n" in result.stdout
    document = json.loads(call(root, "verify", "--json").stdout)
    assert [row["key"] for row in document["damaged"]] == [entry.key]
    assert entry.path.exists()
    result = call(root, "verify", "--remove")
    assert result.exit_code == 0
    assert not entry.path.exists()
    assert call(root, "verify").stdout == f"{root}: 2 of 2 are as they were written\n"
