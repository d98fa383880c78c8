"""``edgekd bundle``: the check, and laying a bundle into an Android project without touching anything else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bundles import copy_of_bundle, edit_manifest, sign_anew, tiny_bundle, write_bundle
from click.testing import CliRunner, Result

from edgekd import android
from edgekd.artifact import sha256_file, write_json
from edgekd.cli import main
from edgekd.errors import ModelError, OutputError
from edgekd.manifest import MANIFEST_FILE

PLACE = "app/src/main/assets/edgekd"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An Android project with an asset of its own."""
    root = tmp_path / "project"
    (root / "app" / "src" / "main" / "assets").mkdir(parents=True)
    (root / "app" / "build.gradle.kts").write_text('android { androidResources { noCompress += "tflite" } }\n')
    (root / "app" / "src" / "main" / "assets" / "own.txt").write_text("mine")
    return root


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a build leaves, as far as this command reads it."""
    root = tmp_path / "run"
    root.mkdir()
    (root / "log.jsonl").write_text('{"event": "run"}\n')
    copy_of_bundle(root / "bundle")
    model = {"id": "student_int8", "shipped": True, "sha256": sha256_file(root / "bundle" / "model.tflite")}
    write_json(root / "report.json", {"models": [{"id": "teacher", "shipped": False, "sha256": ""}, model]})
    return root


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edgekd_bundle(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bundle", *map(str, arguments)])


def test_a_bundle_is_laid_in_byte_for_byte(run: Path, project: Path) -> None:
    result = edgekd_bundle(run, "--android-dir", project)
    assert result.exit_code == 0, result.stderr
    assert content_of(project / PLACE) == content_of(tiny_bundle())
    assert f"laid into {project / PLACE}: 16 files" in result.stdout
    assert f'next: open "{project}" in Android Studio' in result.stdout
    assert "noCompress" not in result.stdout
    assert {path.name for path in (project / PLACE).parent.iterdir()} == {"edgekd", "own.txt"}
    assert (project / PLACE).stat().st_mode & 0o777 == (run / "bundle").stat().st_mode & 0o777


def test_without_a_project_it_says_what_it_checked(run: Path) -> None:
    result = edgekd_bundle(run)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"bundle {run / 'bundle'}: recipe colours"
    assert "  labels: red, green, blue" in lines
    assert "  goldens: 8 inputs (made, no patient's images) and 2 pictures" in lines
    assert "check passed: digests, tensors, labels, and the goldens with all three kernels" in lines


def test_a_bundle_folder_does_as_well(project: Path) -> None:
    assert edgekd_bundle(tiny_bundle(), "--android-dir", project).exit_code == 0
    assert content_of(project / PLACE) == content_of(tiny_bundle())


def test_a_former_bundle_is_replaced_whole(project: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "former", num_golden=16)
    assert edgekd_bundle(tmp_path / "former", "--android-dir", project).exit_code == 0
    assert (project / PLACE / "golden" / "input_15.bin").is_file()
    result = edgekd_bundle(tiny_bundle(), "--android-dir", project)
    assert 'in the place of the bundle of recipe "colours"' in result.stdout
    assert content_of(project / PLACE) == content_of(tiny_bundle())
    assert (project / PLACE).parent.joinpath("own.txt").read_text() == "mine"


def test_a_damaged_former_bundle_is_replaced_too(project: Path) -> None:
    edgekd_bundle(tiny_bundle(), "--android-dir", project)
    (project / PLACE / "model.tflite").write_bytes(b"broken")
    (project / PLACE / "labels.txt").unlink()
    assert edgekd_bundle(tiny_bundle(), "--android-dir", project).exit_code == 0
    assert content_of(project / PLACE) == content_of(tiny_bundle())


def test_the_same_bundle_again_writes_nothing(project: Path) -> None:
    edgekd_bundle(tiny_bundle(), "--android-dir", project)
    before = (project / PLACE).stat().st_ino
    result = edgekd_bundle(tiny_bundle(), "--android-dir", project)
    assert "holds these very files already" in result.stdout
    assert (project / PLACE).stat().st_ino == before
    in_place = edgekd_bundle(project / PLACE, "--android-dir", project)
    assert (in_place.exit_code, content_of(project / PLACE)) == (0, content_of(tiny_bundle()))


@pytest.mark.parametrize("name", ["notes.txt", "golden/mine.bin"])
def test_other_files_in_the_place_are_left_alone(name: str, project: Path) -> None:
    edgekd_bundle(tiny_bundle(), "--android-dir", project)
    (project / PLACE / "model.tflite").write_bytes(b"older")
    (project / PLACE / name).write_text("mine")
    result = edgekd_bundle(tiny_bundle(), "--android-dir", project)
    assert result.exit_code == 2
    assert f'"{project / PLACE}" holds {name}, which is no part of the edgekd bundle there' in result.stderr
    assert (project / PLACE / name).read_text() == "mine"
    assert (project / PLACE / "model.tflite").read_bytes() == b"older"


def test_a_folder_that_is_no_bundle_is_left_alone(project: Path) -> None:
    (project / PLACE).mkdir()
    (project / PLACE / "dictionary.json").write_text("{}")
    result = edgekd_bundle(tiny_bundle(), "--android-dir", project)
    assert result.exit_code == 2
    assert "holds dictionary.json and no edgekd bundle; it is left alone, move it away" in result.stderr
    assert content_of(project / PLACE) == {"dictionary.json": b"{}"}


def test_an_empty_folder_is_taken_and_a_file_or_a_link_is_not(project: Path, tmp_path: Path) -> None:
    (project / PLACE).mkdir()
    assert edgekd_bundle(tiny_bundle(), "--android-dir", project).exit_code == 0
    other = tmp_path / "elsewhere"
    (project / PLACE).rename(other)
    for make in (lambda: (project / PLACE).symlink_to(other), lambda: (project / PLACE).write_text("file")):
        make()
        result = edgekd_bundle(tiny_bundle(), "--android-dir", project)
        assert (result.exit_code, "is no folder and is left alone" in result.stderr) == (2, True)
        (project / PLACE).unlink()
    assert content_of(other) == content_of(tiny_bundle())


def test_a_project_that_compresses_the_model_is_told(project: Path) -> None:
    (project / "app" / "build.gradle.kts").write_text("android { }\n")
    result = edgekd_bundle(tiny_bundle(), "--android-dir", project)
    assert 'androidResources { noCompress += "tflite" }' in result.stdout


def test_an_older_project_without_gradle_files_of_the_app(project: Path) -> None:
    (project / "app" / "build.gradle.kts").unlink()
    (project / "app" / "src" / "main" / "AndroidManifest.xml").write_text("<manifest/>")
    assert edgekd_bundle(tiny_bundle(), "--android-dir", project).exit_code == 0


def test_what_is_no_project_is_named_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder" / "app").mkdir(parents=True)
    for name in ("folder", "absent"):
        result = edgekd_bundle(tiny_bundle(), "--android-dir", tmp_path / name)
        assert result.exit_code == 2
        assert f'"{tmp_path / name}" is not an Android project: it has none of app/build.gradle.kts' in result.stderr
    assert content_of(tmp_path) == {}


def test_what_is_neither_run_nor_bundle(tmp_path: Path) -> None:
    absent = edgekd_bundle(tmp_path / "absent")
    assert (absent.exit_code, "no such folder; name a run folder" in absent.stderr) == (2, True)
    empty = edgekd_bundle(tmp_path)
    assert (empty.exit_code, "is neither an edgekd run nor a bundle" in empty.stderr) == (2, True)


def test_a_run_that_stopped_before_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"event": "run"}\n')
    result = edgekd_bundle(tmp_path)
    assert result.exit_code == 2
    assert f'run "{tmp_path}" has no bundle: it stopped before; run the same edgekd build again' in result.stderr


def test_a_changed_file_is_refused_and_nothing_is_laid(run: Path, project: Path) -> None:
    with (run / "bundle" / "model.tflite").open("ab") as file:
        file.write(b"\0")
    result = edgekd_bundle(run, "--android-dir", project)
    assert result.exit_code == 2
    assert "model.tflite is not the file that was bundled" in result.stderr
    assert not (project / PLACE).exists()


def test_a_model_that_was_not_measured_is_refused(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    report["models"][1]["sha256"] = "0" * 64
    write_json(run / "report.json", report)
    with pytest.raises(ModelError, match=r"model.tflite is not the model that report.json measured"):
        android.check_bundle(run / "bundle")
    (run / "report.json").write_text("{}")
    result = edgekd_bundle(run)
    assert (result.exit_code, "report.json" in result.stderr) == (2, True)


def test_other_answers_than_the_goldens_are_refused(tmp_path: Path) -> None:
    folder = copy_of_bundle(tmp_path / "bundle")
    # The labels of the goldens as somebody would sort them: every answer is now that of another class.
    golden = json.loads((folder / "golden" / "golden.json").read_text())
    for row in golden["vectors"]:
        row["low"], row["high"] = row["low"][::-1], row["high"][::-1]
    write_json(folder / "golden" / "golden.json", golden)
    sign_anew(folder)
    with pytest.raises(ModelError, match=r"fails its self-test with the xnnpack kernels: golden/input_\d\d.bin"):
        android.check_bundle(folder)


def test_a_failed_swap_puts_the_old_bundle_back(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edgekd_bundle(tiny_bundle(), "--android-dir", project)
    write_bundle(tmp_path / "other", num_golden=9)
    real = Path.replace

    def fails_for_the_new(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(28, "No space left on device", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fails_for_the_new)
    result = edgekd_bundle(tmp_path / "other", "--android-dir", project)
    assert (result.exit_code, "cannot be written" in result.stderr) == (2, True)
    assert content_of(project / PLACE) == content_of(tiny_bundle())
    assert {path.name for path in (project / PLACE).parent.iterdir()} == {"edgekd", "own.txt"}


def test_what_a_kill_left_behind_goes_with_the_next_time(project: Path) -> None:
    left = (project / PLACE).parent / ".edgekd-staging-abc"
    (left / "new").mkdir(parents=True)
    edgekd_bundle(tiny_bundle(), "--android-dir", project)
    assert not left.exists()


def test_a_source_that_changes_meanwhile_replaces_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of_bundle(tmp_path / "bundle")
    bundle = android.check_bundle(folder)
    monkeypatch.setattr(android.shutil, "copyfile", lambda source, target: target.write_bytes(b"half"))
    with pytest.raises(OutputError, match="changed while it was copied; nothing was replaced"):
        android.lay_into(bundle, project)
    assert not (project / PLACE).exists()


def test_golden_images_are_named_with_their_licence(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", golden_images_licence="CC BY 4.0")
    assert "goldens: 8 inputs (images of test under CC BY 4.0)" in edgekd_bundle(tmp_path / "bundle").stdout


def test_a_newer_manifest_ends_with_2(tmp_path: Path) -> None:
    folder = copy_of_bundle(tmp_path / "bundle")
    edit_manifest(folder, schema_version=2)
    result = edgekd_bundle(folder)
    assert (result.exit_code, "update edgekd" in result.stderr) == (2, True)
    assert (folder / MANIFEST_FILE).is_file()


def test_it_takes_less_than_five_seconds_and_no_tensorflow(project: Path) -> None:
    code = (
        "import sys; from edgekd.cli import main\n"
        "try: main()\n"
        "finally: print('loaded', sorted({'tensorflow', 'tf_keras', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    start = time.perf_counter()
    command = [sys.executable, "-c", code, "bundle", str(tiny_bundle()), "--android-dir", str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    assert "loaded []" in done.stdout
    assert done.stderr == ""
    assert seconds < 5
