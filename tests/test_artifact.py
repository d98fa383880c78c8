from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edgekd.artifact import Artifact, canonical_json, digest_folder, read_json, sha256_file, write_json

# FIPS 180-2, appendix B.1.
SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sha256_of_the_standard_example(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == SHA256_OF_ABC


def test_digest_of_a_folder_by_hand(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"abc")
    (tmp_path / "a").write_bytes(b"")
    empty = hashlib.sha256(b"").hexdigest()
    expected = hashlib.sha256(f"a\0{empty}\nb/c\0{SHA256_OF_ABC}\n".encode()).hexdigest()
    assert digest_folder(tmp_path) == expected


def test_the_digest_of_a_folder_is_of_names_and_bytes_and_not_of_its_place(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "x").write_text("1")
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "two")
    (tmp_path / "two" / "x").rename(tmp_path / "two" / "y")
    renamed = digest_folder(tmp_path / "two")
    (tmp_path / "two" / "y").write_text("2")
    assert len({digest_folder(tmp_path / "one"), renamed, digest_folder(tmp_path / "two")}) == 3


def test_canonical_json_is_one_text_per_value() -> None:
    assert canonical_json({"b": [1, 2.5, None, True], "a": "é"}) == '{"a":"\\u00e9","b":[1,2.5,null,true]}'
    assert canonical_json({"x": 1, "y": (2,)}) == canonical_json({"y": [2], "x": 1})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused(number: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"auc": number})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "facts.json", {"auc": number})
    assert list(tmp_path.iterdir()) == []


def test_write_json_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": [1.5, "ä"]})
    assert read_json(path) == {"a": [1.5, "ä"]}
    assert path.read_bytes().endswith(b"}\n")
    assert list(tmp_path.iterdir()) == [path]


def test_a_sealed_artifact_opens_as_the_same_artifact(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\0\1")
    sealed = Artifact.seal(tmp_path, {"val": {"auc": 0.5}, "names": ["a"]})
    assert Artifact.open(tmp_path) == sealed
    assert sealed.facts == {"val": {"auc": 0.5}, "names": ["a"]}
    assert sealed.digest == digest_folder(tmp_path)


def test_the_digest_covers_the_facts(tmp_path: Path) -> None:
    assert Artifact.seal(tmp_path, {"a": 1}).digest != Artifact.seal(tmp_path, {"a": 2}).digest
