from __future__ import annotations

import ast
import hashlib
import logging
from pathlib import Path

import pytest

from edgekd import cache as cache_module
from edgekd.artifact import Artifact, digest_folder, write_json
from edgekd.cache import Cache, code_digest, imported_modules
from edgekd.errors import OutputError


def maker(calls: list[int], content: str = "made"):
    def make(out_dir: Path, work: Path) -> Artifact:
        calls.append(1)
        (out_dir / "file.txt").write_text(content)
        return Artifact.seal(out_dir, {"content": content})

    return make


def test_made_once_and_then_taken_from_the_store(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []
    first, made = cache.run("stage", maker(calls), {"x": 1})
    second, taken = cache.run("stage", maker(calls), {"x": 1})
    assert (made.cached, taken.cached, len(calls)) == (False, True, 1)
    assert second == first
    assert (second.path / "file.txt").read_text() == "made"
    assert made.key == taken.key
    assert cache.has("stage", {"x": 1})


def test_another_process_that_was_first_is_believed(tmp_path: Path) -> None:
    def overtaken(out_dir: Path, work: Path) -> Artifact:
        Cache(tmp_path).run("stage", maker([], "theirs"), {})  # finishes, and removes the work folder
        (work / "checkpoint.npz").write_text("mine")
        raise AssertionError("the work folder is still there")

    artifact, record = Cache(tmp_path).run("stage", overtaken, {})
    assert (artifact.facts["content"], record.cached) == ("theirs", True)
    assert [path.name for path in (tmp_path / "work").iterdir()] == []


@pytest.mark.parametrize("other", [("stage", {"x": 2}), ("other", {"x": 1}), ("stage", {"x": 1, "y": 0})])
def test_every_ingredient_makes_another_key(other: tuple[str, dict[str, int]], tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path), []
    cache.run("stage", maker(calls), {"x": 1})
    assert not cache.has(*other)
    cache.run(other[0], maker(calls), other[1])
    assert len(calls) == 2


def test_key_is_the_digest_of_canonical_json(tmp_path: Path) -> None:
    _, record = Cache(tmp_path).run("s", maker([]), {"b": [1, 2]})
    expected = hashlib.sha256(b'{"b":[1,2],"stage":"s"}').hexdigest()
    assert record.key == expected
    assert (tmp_path / record.key[:2] / record.key / "artifact" / "file.txt").is_file()


@pytest.mark.parametrize("damage", ["changed", "removed", "no digest", "broken facts"])
def test_broken_entry_is_warned_about_and_rebuilt(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("edgekd").propagate = True
    cache, calls = Cache(tmp_path), []
    artifact, _ = cache.run("stage", maker(calls), {})
    if damage == "changed":
        (artifact.path / "file.txt").write_text("tampered")
    elif damage == "removed":
        (artifact.path / "file.txt").unlink()
    elif damage == "no digest":
        (artifact.path.parent / "digest.json").unlink()
    else:
        (artifact.path / "facts.json").write_text("{")
    again, record = cache.run("stage", maker(calls), {})
    assert (record.cached, len(calls)) == (False, 2)
    assert "cache entry of stage stage is broken and is built anew" in caplog.text
    assert (again.path / "file.txt").read_text() == "made"


def test_failure_leaves_no_entry_and_keeps_the_work_folder(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(out_dir: Path, work: Path) -> Artifact:
        (work / "checkpoint").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.run("stage", fail, {})
    assert not cache.has("stage", {})

    def finish(out_dir: Path, work: Path) -> Artifact:
        assert (work / "checkpoint").read_text() == "half"
        return Artifact.seal(out_dir, {})

    _, record = cache.run("stage", finish, {})
    assert not (tmp_path / "work" / record.key).exists()


def test_lost_race_keeps_the_winner(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def slow(out_dir: Path, work: Path) -> Artifact:
        cache.run("stage", maker([], "winner"), {})  # another process finishes the same stage meanwhile
        (out_dir / "file.txt").write_text("loser")
        return Artifact.seal(out_dir, {"content": "loser"})

    artifact, _ = cache.run("stage", slow, {})
    assert artifact.facts["content"] == "winner"
    assert (artifact.path / "file.txt").read_text() == "winner"


def test_leftovers_of_a_kill_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "work" / "abc-half").mkdir(parents=True)
    _, record = Cache(tmp_path).run("stage", maker([]), {})
    assert not record.cached


def test_unwritable_root_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written .* --cache-dir"):
        Cache(tmp_path / "file").run("stage", maker([]), {})


def test_full_disk_is_an_output_error(tmp_path: Path) -> None:
    def full(out_dir: Path, work: Path) -> Artifact:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        Cache(tmp_path).run("stage", full, {})


def test_the_digest_of_a_folder_is_of_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = digest_folder(tmp_path)
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    renamed = digest_folder(tmp_path)
    (tmp_path / "a" / "y").write_text("2")
    assert len({before, renamed, digest_folder(tmp_path)}) == 3


def test_facts_that_are_no_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "facts.json", {"auc": float("nan")})


def _digest_of(source: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(cache_module, "_syntax_tree", lambda name: ast.parse(source))
    code_digest.cache_clear()
    digest = code_digest("edgekd.units")
    code_digest.cache_clear()
    return digest


def test_comments_docstrings_and_layout_do_not_count_and_code_does(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _digest_of("def f(x):\n    return x + 1\n", monkeypatch)
    dressed = _digest_of('"""Doc."""\n# why\ndef f(x):\n    """Doc."""\n\n    return (x + 1)\n', monkeypatch)
    changed = _digest_of("def f(x):\n    return x + 2\n", monkeypatch)
    assert plain == dressed
    assert plain != changed


def test_imports_are_followed_also_inside_functions() -> None:
    tree = ast.parse(
        "import numpy\nfrom edgekd import losses\nfrom edgekd.errors import DataError\n"
        "def f():\n    from edgekd.units import format_bytes\n"
    )
    assert imported_modules("edgekd.x", tree) == ["edgekd", "edgekd.errors", "edgekd.losses", "edgekd.units"]
