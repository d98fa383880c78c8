"""A bundle in use: where no tensorflow is installed, and with every kind of bad input."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import NAMES, colour_images, colours, copy_of_bundle, edit_manifest, sign_anew, tiny_bundle, write_bundle
from PIL import Image
from tflite_models import SIDE, tiny_file

import edgekd
from edgekd import tflite
from edgekd._litert import KERNELS, predict_probs
from edgekd.artifact import write_json
from edgekd.errors import DataError, EdgekdError, ModelError
from edgekd.runtime import LoadedBundle, Prediction


@pytest.fixture(scope="module")
def bundle() -> LoadedBundle:
    return edgekd.load_bundle(tiny_bundle())


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A bundle of its own for the test to break."""
    return copy_of_bundle(tmp_path / "bundle")


def png(pixels: np.ndarray | Image.Image, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def uniform(colour: tuple[int, int, int], width: int = 40, height: int = 30) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


# Without tensorflow


def requirements(*names: str) -> set[str]:
    """Distributions that these need, themselves included; extras and other platforms left out."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.split(r"[ <>=!~;(\[]", waiting.pop())[0].lower().replace("_", "-")
        if name in found:
            continue
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another Python or platform
        found.add(name)
        waiting += [line for line in needed if "extra ==" not in line]
    return found


@pytest.fixture(scope="module")
def device_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with numpy, pillow, ai-edge-litert and what they need, and with edgekd's source on the path."""
    root = tmp_path_factory.mktemp("device")
    venv.create(root, with_pip=False, symlinks=True)
    site = next(root.glob("lib/python*/site-packages"))
    for name in requirements("numpy", "pillow", "ai-edge-litert"):
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    source = root / "source"
    source.mkdir()
    (source / "edgekd").symlink_to(Path(edgekd.__file__).parent)
    (site / "edgekd.pth").write_text(f"{source}\n")
    return root / "bin" / "python"


def run_on_device(python: Path, code: str, *arguments: object) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-W", "error", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_device_has_no_tensorflow(device_python: Path) -> None:
    code = (
        "import importlib.util, sys\n"
        "print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name)])\n"
        "import edgekd, numpy, PIL, ai_edge_litert"
    )
    absent = ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "scipy", "sklearn", "jsonschema")
    assert run_on_device(device_python, code, *absent, "click", "jinja2", "rich", "psutil").split() == []
    refused = "try:\n import tensorflow\nexcept ModuleNotFoundError as error:\n print(error)"
    assert run_on_device(device_python, refused) == "No module named 'tensorflow'\n"


def test_a_device_predicts_what_this_environment_predicts(
    device_python: Path, bundle: LoadedBundle, tmp_path: Path
) -> None:
    images = colour_images(6, seed=21)
    for index, pixels in enumerate(images):
        (tmp_path / f"{index}.png").write_bytes(png(pixels))
    code = (
        "import sys, json, edgekd, numpy, PIL.Image\n"
        "bundle = edgekd.load_bundle(sys.argv[1])\n"
        "paths = sys.argv[2:]\n"
        "arrays = [numpy.asarray(PIL.Image.open(path)) for path in paths]\n"
        "answers = [bundle.predict(paths), bundle.predict(arrays), bundle.predict(numpy.stack(arrays))]\n"
        "tests = [bundle.self_test(kernel) for kernel in ('xnnpack', 'builtin', 'reference')]\n"
        "rows = [[[p.label, p.confidence, p.probs.tolist()] for p in answer] for answer in answers]\n"
        "print(json.dumps([rows, tests]))"
    )
    paths = [tmp_path / f"{index}.png" for index in range(len(images))]
    (files, arrays, stacked), tests = json.loads(run_on_device(device_python, code, tiny_bundle(), *paths))
    here = [[each.label, each.confidence, each.probs.tolist()] for each in bundle.predict(list(images))]
    assert files == arrays == stacked == here
    assert tests == [[], [], []]


def test_a_device_checks_a_manifest_without_jsonschema(device_python: Path, broken: Path) -> None:
    edit_manifest(broken, preprocessing__size="16")
    code = (
        "import sys, edgekd\n"
        "try: edgekd.load_bundle(sys.argv[1])\n"
        "except edgekd.EdgekdError as error: print(type(error).__name__, error)"
    )
    assert 'DataError bundle "' in (told := run_on_device(device_python, code, broken))
    assert 'says preprocessing.size = "16"; 1 to 4096 is wanted' in told


# What it answers


def test_colours_are_recognised(bundle: LoadedBundle) -> None:
    images = colour_images(200, seed=31)
    said = [NAMES.index(prediction.label) for prediction in bundle.predict(list(images))]
    assert np.mean(np.array(said) == colours(images)) > 0.5  # a third by chance


def test_prediction_is_the_models_output(bundle: LoadedBundle) -> None:
    images = colour_images(5, seed=22)
    probs = predict_probs(tiny_bundle() / "model.tflite", images)
    for prediction, row in zip(bundle.predict(images), probs, strict=True):
        np.testing.assert_array_equal(prediction.probs, row)
        assert prediction.label == NAMES[int(row.argmax())]
        assert prediction.confidence == float(row.max())


def test_low_confidence_is_below_the_threshold(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", min_confidence=0.6)
    predictions = edgekd.load_bundle(tmp_path / "bundle").predict(list(colour_images(60, seed=23)))
    flags = {(prediction.confidence < 0.6, prediction.low_confidence) for prediction in predictions}
    assert flags == {(True, True), (False, False)}


def test_one_class_is_its_own_finding(bundle: LoadedBundle) -> None:
    assert all(prediction.findings == (prediction.label,) for prediction in bundle.predict(colour_images(5, seed=22)))


def test_findings_are_the_labels_above_one_half_the_most_probable_first(
    bundle: LoadedBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    probs = np.array([[0.6, 0.1, 0.9], [0.2, 0.5, 0.4], [0.7, 0.7, 0.51]], np.float32)
    monkeypatch.setattr("edgekd.runtime.predict_probs", lambda *_, **__: probs)
    several = LoadedBundle(bundle.path, {**bundle.manifest, "task": "multi-label"})
    found = several.predict(list(colour_images(3, seed=22)))
    first, second, third = NAMES
    assert [answer.findings for answer in found] == [(third, first), (), (first, second, third)]
    assert [(answer.label, round(answer.confidence, 2)) for answer in found] == [
        (third, 0.9),
        (second, 0.5),
        (first, 0.7),
    ]
    assert not any(answer.low_confidence for answer in found)


def test_one_image_or_none(bundle: LoadedBundle, tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    path.write_bytes(png(uniform((230, 30, 30))))
    (prediction,) = bundle.predict(path)
    assert isinstance(prediction, Prediction)
    np.testing.assert_array_equal(prediction.probs, bundle.predict([str(path)])[0].probs)
    assert bundle.predict([]) == []
    assert bundle.labels == list(NAMES)


def same_answer(bundle: LoadedBundle, first: Any, second: Any) -> bool:
    return bool(np.array_equal(bundle.predict(first)[0].probs, bundle.predict(second)[0].probs))


def test_grey_is_its_three_channels(bundle: LoadedBundle) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (37, 50), dtype=np.uint8)
    assert same_answer(bundle, grey, np.repeat(grey[..., None], 3, axis=2))
    assert same_answer(bundle, Image.fromarray(grey), grey)


def test_sixteen_bits_keep_the_upper_byte(bundle: LoadedBundle, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (20, 20), dtype=np.uint16)
    (tmp_path / "deep.png").write_bytes(png(values))
    assert same_answer(bundle, tmp_path / "deep.png", (values // 256).astype(np.uint8))


def test_transparency_is_over_black(bundle: LoadedBundle, tmp_path: Path) -> None:
    pixels = np.dstack([uniform((200, 10, 10)), np.zeros((30, 40), np.uint8)])
    (tmp_path / "clear.png").write_bytes(png(pixels))
    assert same_answer(bundle, tmp_path / "clear.png", np.zeros((30, 40), np.uint8))


def test_cmyk_is_converted(bundle: LoadedBundle, tmp_path: Path) -> None:
    # Ink is what is missing of the light: (0, 220, 220, 0) prints (255, 35, 35).
    ink = Image.new("CMYK", (30, 30), (0, 220, 220, 0))
    ink.save(tmp_path / "ink.tif")
    assert same_answer(bundle, tmp_path / "ink.tif", uniform((255, 35, 35), 30, 30))


def test_a_photo_is_turned_upright(bundle: LoadedBundle, tmp_path: Path) -> None:
    shown = np.concatenate([uniform((220, 20, 20), 30, 20), uniform((20, 20, 220), 30, 20)])
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: a viewer turns it by 90 degrees clockwise
    (tmp_path / "photo.png").write_bytes(png(np.ascontiguousarray(np.rot90(shown)), exif=exif))
    assert same_answer(bundle, tmp_path / "photo.png", shown)
    assert not same_answer(bundle, np.ascontiguousarray(np.rot90(shown)), shown)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), "is empty: 5 x 0 pixels"),
        (np.zeros((10_000, 10_000), np.uint8), "has 100,000,000 pixels, more than 64,000,000; scale it down"),
        (Image.new("1", (10_000, 10_000)), "has 100,000,000 pixels, more than 64,000,000; scale it down"),
        (np.zeros((5, 5, 3), np.float32), "an array of float32"),
        (np.zeros((5, 5, 4), np.uint8), "an array of uint8 with shape"),
        (Image.new("F", (5, 5)), "floating-point values has no stated range"),
        (Path("absent.png"), 'absent.png" cannot be read: No such file'),
        (None, "an image of type NoneType: a path, a Pillow image or a uint8 array is wanted"),
        (b"\x89PNG", "an image of type bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_images_are_told(picture: Any, message: str, bundle: LoadedBundle) -> None:
    with pytest.raises(DataError, match=message):
        bundle.predict([uniform((1, 2, 3)), picture])


def test_a_hundred_megapixels_in_a_small_file(bundle: LoadedBundle, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(Image.new("1", (10_000, 10_000))))
    with pytest.raises(DataError, match=r'bomb.png" has 100,000,000 pixels'):
        bundle.predict(tmp_path / "bomb.png")


# The self-test


@pytest.mark.parametrize("kernel", KERNELS)
def test_self_test_passes(kernel: Any, bundle: LoadedBundle) -> None:
    assert bundle.self_test(kernel) == []


def edit_golden(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "golden" / "golden.json"
    golden = json.loads(path.read_text())
    change(golden)
    write_json(path, golden)
    sign_anew(folder)


def test_self_test_tells_input_and_picture_that_fail(broken: Path) -> None:
    for name in ("input_03.bin", "image_1.bin"):
        content = bytearray((broken / "golden" / name).read_bytes())
        content[:] = bytes(byte ^ 0x80 for byte in content) if name == "input_03.bin" else content
        content[100] ^= 1
        (broken / "golden" / name).write_bytes(content)
    sign_anew(broken)
    failures = edgekd.load_bundle(broken).self_test()
    assert failures == [
        "golden/image_1.png: 1 values differ after preprocessing",
        "golden/input_03.bin: the answer is outside of what the three kernels give",
        "golden/input_03.bin: the answer to the same bytes with flipped sign bits passes too",
    ]


def test_self_test_needs_goldens_that_can_fail(broken: Path) -> None:
    def let_everything_pass(golden: dict[str, Any]) -> None:
        for row in golden["vectors"]:
            row.update(low=[0.0] * 3, high=[1.0] * 3, decisive=False)

    edit_golden(broken, let_everything_pass)
    failures = edgekd.load_bundle(broken).self_test()
    assert len(failures) == 8
    assert all("with flipped sign bits passes too" in failure for failure in failures)


def test_self_test_refuses_goldens_of_another_size(broken: Path) -> None:
    (broken / "golden" / "input_00.bin").write_bytes(bytes(SIDE * SIDE))
    sign_anew(broken)
    with pytest.raises(DataError, match=r"input_00.bin has 256 bytes, 16 x 16 x 3 are wanted"):
        edgekd.load_bundle(broken).self_test()


def test_self_test_refuses_broken_goldens(broken: Path) -> None:
    edit_golden(broken, lambda golden: golden["vectors"][0].pop("low"))
    with pytest.raises(DataError, match=r"golden/golden.json vectors\[0\] lacks low"):
        edgekd.load_bundle(broken).self_test()


# Broken bundles


def test_a_folder_without_manifest(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=r"is not a bundle: it has no edgekd_manifest.json"):
            edgekd.load_bundle(path)


@pytest.mark.parametrize("name", ["model.tflite", "labels.txt", "golden/golden.json", "golden/input_00.bin"])
def test_a_missing_file_is_named(name: str, broken: Path) -> None:
    (broken / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing; copy the whole folder again"):
        edgekd.load_bundle(broken)


@pytest.mark.parametrize("name", ["notes.txt", "golden/input_99.bin", ".hidden"])
def test_an_extra_file_is_named(name: str, broken: Path) -> None:
    (broken / name).write_text("")
    with pytest.raises(DataError, match=f"{name} is not named by the manifest; remove it"):
        edgekd.load_bundle(broken)


def test_a_changed_byte_in_any_file_is_found(broken: Path) -> None:
    for path in sorted(broken.rglob("*")):
        if path.is_file() and path.name != "edgekd_manifest.json":
            content = path.read_bytes()
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
            with pytest.raises(DataError, match=f"{path.name} is not the file that was bundled"):
                edgekd.load_bundle(broken)
            path.write_bytes(content)
    edgekd.load_bundle(broken)


def test_a_truncated_model_is_found(broken: Path) -> None:
    content = (broken / "model.tflite").read_bytes()
    (broken / "model.tflite").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"model.tflite is not the file that was bundled"):
        edgekd.load_bundle(broken)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"not a model at all"])
def test_what_is_no_model_is_refused_even_with_its_digest(content: bytes, broken: Path) -> None:
    (broken / "model.tflite").write_bytes(content)
    sign_anew(broken)
    with pytest.raises(ModelError, match=r'"model.tflite": not a TensorFlow Lite file'):
        edgekd.load_bundle(broken)


def test_a_truncated_model_is_refused_even_with_its_digest(broken: Path) -> None:
    # In a process of its own: native code reads these bytes.
    content = (broken / "model.tflite").read_bytes()
    (broken / "model.tflite").write_bytes(content[: len(content) // 2])
    sign_anew(broken)
    code = "import sys, edgekd\ntry: edgekd.load_bundle(sys.argv[1])\nexcept edgekd.EdgekdError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code, str(broken)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'model "model.tflite" cannot be opened' in done.stdout


def test_a_newer_schema_is_refused(broken: Path) -> None:
    edit_manifest(broken, schema_version=2)
    with pytest.raises(DataError, match=r"has manifest version 2, this edgekd reads 1; update edgekd"):
        edgekd.load_bundle(broken)


def test_labels_must_be_as_many_as_the_output(broken: Path) -> None:
    edit_manifest(broken, labels=["red", "green"])
    with pytest.raises(DataError, match=r"output.shape = \[1, 3\]; \[1, 2\] for 2 labels is wanted"):
        edgekd.load_bundle(broken)
    edit_manifest(broken, output__shape=[1, 2])
    (broken / "labels.txt").write_text("red\ngreen\n")
    sign_anew(broken)
    with pytest.raises(ModelError, match=r"output of the model is float32 of shape \[1, 3\], .* of shape \[1, 2\]"):
        edgekd.load_bundle(broken)


def test_labels_must_be_the_manifests(broken: Path) -> None:
    for content in (
        b"red\nblue\ngreen\n",
        b"red\ngreen\nblue\n\n",
        b"red\r\ngreen\r\nblue\r\n",
        b"\xff\ngreen\nblue\n",
    ):
        (broken / "labels.txt").write_bytes(content)
        sign_anew(broken)
        with pytest.raises(ModelError, match=r"labels.txt and the manifest name other classes"):
            edgekd.load_bundle(broken)


@pytest.mark.parametrize(
    ("variant", "message"),
    [("int8_io", "input of the model is int8 of shape"), ("fp32", "input of the model is float32 of shape")],
)
def test_a_model_of_another_type_is_refused(variant: str, message: str, broken: Path) -> None:
    (broken / "model.tflite").write_bytes(tiny_file(variant))
    sign_anew(broken)
    with pytest.raises(ModelError, match=message):
        edgekd.load_bundle(broken)


def test_a_model_whose_input_is_scaled_is_refused(broken: Path) -> None:
    model = tflite.edit.unpack((broken / "model.tflite").read_bytes())
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].quantization.scale = np.array([0.5], np.float32)
    (broken / "model.tflite").write_bytes(tflite.edit.pack(model))
    sign_anew(broken)
    with pytest.raises(
        ModelError, match=r"input of the model has scale 0.5 and zero point 0, the manifest says 1 and 0"
    ):
        edgekd.load_bundle(broken)


def test_paths_that_lead_out_are_refused(broken: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    manifest = json.loads((broken / "edgekd_manifest.json").read_text())
    for path in ("../secret", str(tmp_path / "secret"), "golden/../../secret"):
        edit_manifest(broken, files=[*manifest["files"], {"path": path, "sha256": "0" * 64, "bytes": 6}])
        with pytest.raises(DataError, match=r"says path = .*; a path inside the bundle"):
            edgekd.load_bundle(broken)


def test_links_are_refused_whatever_they_lead_to(broken: Path, tmp_path: Path) -> None:
    (broken / "model.tflite").rename(tmp_path / "model.tflite")
    (broken / "model.tflite").symlink_to(tmp_path / "model.tflite")
    with pytest.raises(DataError, match=r"model.tflite is no ordinary file; copy the files themselves"):
        edgekd.load_bundle(broken)
    (broken / "model.tflite").unlink()
    shutil.copyfile(tmp_path / "model.tflite", broken / "model.tflite")
    edgekd.load_bundle(broken)
    (broken / "golden").rename(tmp_path / "golden")
    (broken / "golden").symlink_to(tmp_path / "golden")
    with pytest.raises(DataError, match="golden is no ordinary file"):
        edgekd.load_bundle(broken)


def test_a_pipe_does_not_hang(broken: Path) -> None:
    (broken / "labels.txt").unlink()
    os.mkfifo(broken / "labels.txt")
    with pytest.raises(DataError, match=r"labels.txt is no ordinary file"):
        edgekd.load_bundle(broken)


def test_every_refusal_is_of_one_family() -> None:
    assert issubclass(DataError, EdgekdError)
    assert issubclass(ModelError, EdgekdError)
    assert edgekd.EdgekdError is EdgekdError
