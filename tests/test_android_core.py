"""The app's core on a computer: its own tests under Maven, and its answers against Python's."""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from edgekd._litert import predict_probs
from edgekd.errors import DataError
from edgekd.preprocessing import open_image, preprocess, to_rgb
from edgekd.runtime import load_bundle

pytestmark = pytest.mark.slow

DEMO = Path(__file__).resolve().parents[1] / "android_demo"
# The one that the app ships with, or another: EDGEKD_ANDROID_BUNDLE.
BUNDLE = Path(os.environ.get("EDGEKD_ANDROID_BUNDLE", DEMO / "app" / "src" / "main" / "assets" / "edgekd"))
ORIENTATION = 0x0112
UNREACHED = ("could not be resolved", "Could not transfer", "Could not find artifact", "Cannot access", "offline mode")


def maven(*options: str) -> subprocess.CompletedProcess[str]:
    bundle = f"-Dedgekd.bundle={BUNDLE.resolve()}"
    return subprocess.run(
        ["mvn", "-q", "-B", *options, bundle, "-f", DEMO / "pom.xml", "-pl", "core,jvm", "verify"],
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )


@pytest.fixture(scope="module")
def built() -> Path:
    """``core`` and ``jvm`` compiled, warnings as errors, and their tests run."""
    missing = [tool for tool in ("mvn", "java", "javac") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("TensorFlow Lite's library for the JVM is taken for Linux on x86_64 alone")
    for module in ("core", "jvm"):
        shutil.rmtree(DEMO / module / "target" / "surefire-reports", ignore_errors=True)  # those of tests that are gone
    for options in (["--offline"], []):
        done = maven(*options)
        unreached = any(reason in done.stdout + done.stderr for reason in UNREACHED)
        if done.returncode == 0 or not unreached:
            break
    else:
        pytest.skip("Maven finds its plugins and libraries neither on this machine nor in the network")
    assert done.returncode == 0, done.stdout + done.stderr
    print(*[line[line.index("self-test:") :] for line in done.stdout.splitlines() if "self-test:" in line], sep="\n")
    return DEMO


@pytest.fixture
def ask(built: Path, tmp_path: Path) -> Path:
    """An empty folder for questions to :func:`answer`."""
    assert (built / "jvm" / "target" / "classpath.txt").is_file()
    return tmp_path


def answer(folder: Path) -> None:
    """Let Kotlin answer what lies in the folder; Answers.kt says how."""
    target = DEMO / "jvm" / "target"
    path = f"{target / 'classes'}:{(target / 'classpath.txt').read_text()}"
    subprocess.run(["java", "-cp", path, "org.edgekd.jvm.AnswersKt", folder], check=True, timeout=300)


@pytest.mark.parametrize("module", ["core", "jvm"])
def test_kotlins_own_tests_ran_and_passed(built: Path, module: str) -> None:
    written = {path.stem for path in (built / module / "src" / "test").rglob("*Test.kt")}
    reports = [ElementTree.parse(path).getroot() for path in (built / module / "target/surefire-reports").glob("*.xml")]
    assert {report.get("name", "").rpartition(".")[2] for report in reports} == written
    count = {kind: sum(int(report.get(kind, 0)) for report in reports) for kind in ("tests", "failures", "errors")}
    assert count["tests"] >= {"core": 150, "jvm": 10}[module]
    assert count["failures"] == count["errors"] == 0
    skipped = sum(int(report.get("skipped", 0)) for report in reports)
    if module == "jvm" and not BUNDLE.is_dir():
        pytest.skip(f"no bundle is laid in, so that {skipped} tests of the real model did not run")
    assert skipped == 0


def test_no_pixel_differs_over_a_thousand_random_pictures(ask: Path) -> None:
    generator = np.random.default_rng(0)
    expected = []
    with (ask / "pictures.bin").open("wb") as file:
        for index in range(1000):
            width, height = (int(side) * 2 + 1 for side in generator.integers(0, 120, 2))  # odd, 1 to 239
            orientation, crop, size = index % 8 + 1, index // 8 % 2, int(generator.integers(1, 97))
            pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
            file.write(np.array([width, height, orientation, size, crop], ">i4").tobytes() + pixels.tobytes())
            image = Image.fromarray(pixels)
            image.getexif()[ORIENTATION] = orientation
            expected.append(preprocess(image, size, ("stretch", "center_crop")[crop]).ravel())
    answer(ask)
    found = np.fromfile(ask / "pictures.out", np.uint8)
    assert found.size == sum(tensor.size for tensor in expected)
    assert int(np.sum(found != np.concatenate(expected))) == 0


def kinds_of_files() -> Iterator[tuple[str, bytes, str]]:
    """Files by name, with the error that Kotlin must give; none where it must give Python's pixels."""
    generator = np.random.default_rng(1)
    colour = Image.fromarray(generator.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    alpha = Image.fromarray(generator.integers(0, 256, (9, 13, 4), dtype=np.uint8))
    grey = Image.fromarray(generator.integers(0, 256, (9, 13), dtype=np.uint8))
    grey_alpha = Image.merge("LA", [grey, grey.rotate(180)])
    palette = colour.quantize(16)

    def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    yield "rgb.png", saved(colour), ""
    yield "alpha.png", saved(alpha), ""
    yield "grey.png", saved(grey), ""
    yield "grey_alpha.png", saved(grey_alpha), ""
    yield "bits_1.png", saved(grey.convert("1")), ""
    yield "bits_2.png", saved(grey.quantize(4)), ""
    yield "palette.png", saved(palette), ""
    yield "palette_alpha.png", saved(palette, transparency=bytes(range(0, 160, 10))), ""
    yield "colour_key.png", saved(colour, transparency=colour.getpixel((4, 4))), ""
    yield "grey_key.png", saved(grey, transparency=grey.getpixel((4, 4))), ""
    for orientation in range(10):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        yield f"orientation_{orientation}.png", saved(colour, exif=exif), ""
    for name, block in {
        "byte": b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x01\0\0\0\x01\x06\0\0\0\0\0\0\0",
        "long": b"II*\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
        "short": b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
    }.items():
        yield f"orientation_as_{name}.png", saved(colour, exif=b"Exif\0\0" + block), ""
    yield "exif_damaged.png", saved(colour, exif=b"Exif\0\0anything"), "UnreadableImage"
    yield "cut_off.png", saved(colour)[:-20], "UnreadableImage"
    yield "half.png", saved(colour)[:200], "UnreadableImage"
    damaged = bytearray(saved(colour))
    damaged[damaged.index(b"IDAT") + 4] ^= 0xFF
    yield "damaged.png", bytes(damaged), "UnreadableImage"
    yield (
        "bits_16.png",
        saved(Image.fromarray(generator.integers(0, 65536, (9, 13), dtype=np.uint16))),
        "UnsupportedImage",
    )
    yield "animation.png", saved(colour, save_all=True, append_images=[alpha.convert("RGB")]), "UnsupportedImage"
    yield "cmyk.jpg", saved(colour.convert("CMYK"), "JPEG"), "UnsupportedImage"
    yield "cut_off.jpg", saved(colour, "JPEG")[:-40], "UnreadableImage"
    yield "picture.bmp", saved(colour, "BMP"), "UnsupportedImage"
    yield "text.png", b"not an image", "UnsupportedImage"
    yield "nothing.png", b"", "UnsupportedImage"
    yield "hundred_megapixels.png", saved(Image.new("1", (10_000, 10_000))), "ImageTooLarge"
    empty = bytearray(saved(colour))
    empty[16:20] = bytes(4)  # the width in IHDR
    yield "empty.png", bytes(empty), "EmptyImage"


def test_each_kind_of_file_gives_pythons_pixels_or_a_typed_error(ask: Path) -> None:
    kinds = {name: (content, error) for name, content, error in kinds_of_files()}
    (ask / "files").mkdir()
    for name, (content, _) in kinds.items():
        (ask / "files" / name).write_bytes(content)
    answer(ask)
    found = dict(line.split("\t") for line in (ask / "files.out").read_text().splitlines())
    assert found.keys() == kinds.keys()
    for name, (content, error) in kinds.items():
        if error:
            assert found[name].startswith(f"{error}: "), f"{name}: {found[name]}"
        else:
            assert found[name] == sha256(to_rgb(open_image(content)).tobytes()).hexdigest(), f"{name}: {found[name]}"


@pytest.mark.parametrize("name", ["exif_damaged.png", "half.png", "damaged.png", "hundred_megapixels.png", "empty.png"])
def test_python_refuses_these_files_too(name: str) -> None:
    content = next(content for found, content, _ in kinds_of_files() if found == name)
    with pytest.raises(DataError):
        to_rgb(open_image(content))


def test_over_the_whole_test_set_kotlin_answers_as_python_does(
    ask: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not BUNDLE.is_dir():
        pytest.skip("no bundle is laid in: edgekd bundle RUN --android-dir android_demo")
    bundle = load_bundle(BUNDLE)
    rule = bundle.manifest["preprocessing"]
    with np.load(shared_data / "pneumoniamnist.npz") as arrays:
        images = arrays["test_images"]
    assert len(images) == 624
    tensors = np.stack([preprocess(image, rule["size"], rule["resize"]) for image in images])
    (ask / "bundle").symlink_to(BUNDLE.resolve())
    (ask / "tensors.bin").write_bytes(tensors.tobytes())
    answer(ask)
    assert (ask / "bundle.out").read_text() == "accepted\n"
    for kernel in ("xnnpack", "builtin"):
        expected = predict_probs(BUNDLE / "model.tflite", tensors, kernel=kernel)
        found = np.fromfile(ask / f"probs_{kernel}.out", "<f4").reshape(expected.shape)
        second, first = np.sort(expected, axis=1)[:, -2:].T
        margin, difference = first - second, float(np.max(np.abs(found - expected)))
        flips = np.argmax(found, axis=1) != np.argmax(expected, axis=1)
        with capsys.disabled():
            print(
                f"\n{kernel}: {len(images)} images, {np.sum(flips)} with another top-1, {np.sum(margin == 0)} ties, "
                f"least margin {np.min(margin):.6f}, largest difference {difference:.6f}"
            )
        # Two builds of one kernel may round a logit apart; beyond that, and ties, the class is the same.
        assert difference <= 1 / 256
        assert not np.any(flips & (margin > 2 / 256))
