"""A stranger's Keras model without its images: how it is read, what is refused, and what its report says."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import make_images

from edgekd import _keras, channels
from edgekd._keras import tf_keras
from edgekd._litert import open_interpreter, predict_probs
from edgekd.artifact import Artifact, read_json, sha256_file
from edgekd.cache import Cache
from edgekd.cli import main
from edgekd.compress import compress
from edgekd.compress_settings import load
from edgekd.config.teacher import Teacher, TeacherFile
from edgekd.data.made_up import made_up_images
from edgekd.errors import EdgekdError, ModelError, RecipeError
from edgekd.models import keras3
from edgekd.stages.adopt import adopt

layers = tf_keras.layers
FAST = {"benchmark.num_processes": 1, "benchmark.num_runs": 10, "benchmark.warmup_runs": 1}
SIDE = 16
pytestmark = [
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),  # Keras 3, saving
]


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    _keras.reset(0)


def take(path: Path, out: Path, limits: tuple[float, ...] = (0.0, 255.0), **file: Any) -> tuple[Artifact, Any]:
    out.mkdir()
    made = adopt(Teacher(model=str(path), file=TeacherFile(range=limits, **file)), out)
    return made, _keras.load_model(out / "model")


# Images


def test_made_up_images_span_the_range_and_do_not_depend_on_how_many() -> None:
    images = made_up_images(6, 32, seed=3)
    assert images.dtype == np.uint8
    assert images.shape == (6, 32, 32, 3)
    assert [(image.min(), image.max()) for image in images] == [(0, 255)] * 6
    np.testing.assert_array_equal(made_up_images(3, 32, seed=3), images[:3])
    assert (made_up_images(3, 32, seed=4) != images[:3]).any()


def test_made_up_images_have_the_spectrum_of_photographs() -> None:
    """In the mean over many the amplitude falls about as ``1 / f``; white noise would have slope 0."""
    images = made_up_images(200, 32, seed=0).astype(np.float64).mean(axis=-1)
    amplitude = np.abs(np.fft.fft(images - images.mean(axis=(1, 2), keepdims=True), axis=-1)).mean(axis=(0, 1))[1:16]
    slope = np.polyfit(np.log(np.arange(1, 16)), np.log(amplitude), 1)[0]
    assert -1.2 < slope < -0.4


# Reading


def classifier(units: int, activation: str | None = None, last: Any = None) -> Any:
    """Flat, of two channels, so that the expected answers are a line of NumPy."""
    pixels = tf_keras.Input((SIDE, SIDE, 3))
    x = layers.Dense(units, activation=activation, name="dense")(layers.GlobalAveragePooling2D()(pixels))
    return tf_keras.Model(pixels, last(x) if last else x)


@pytest.mark.parametrize(
    ("units", "activation", "last", "head"),
    [
        (3, "softmax", None, "softmax"),
        (3, None, layers.Softmax, "softmax"),
        (3, None, lambda: layers.Activation("softmax"), "softmax"),
        (3, None, None, "softmax"),
        (3, "sigmoid", None, "sigmoid"),
        (1, "sigmoid", None, "softmax"),
    ],
    ids=["in the layer", "Softmax", "Activation", "logits", "labels", "one output"],
)
def test_the_end_becomes_logits(units: int, activation: str | None, last: Any, head: str, tmp_path: Path) -> None:
    model = classifier(units, activation, last and last())
    model.save(tmp_path / "m.h5")
    made, ours = take(tmp_path / "m.h5", tmp_path / "out", (-1.0, 1.0))
    pictures = made_up_images(8, SIDE, seed=9)
    kernel, bias = model.get_layer("dense").get_weights()
    logits = (pictures / 127.5 - 1).mean(axis=(1, 2)) @ kernel + bias
    if units == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    np.testing.assert_allclose(ours(np.float32(pictures)), logits, atol=1e-5)
    assert (made.facts["head"], made.facts["num_classes"]) == (head, logits.shape[1])


def test_mean_and_deviation_of_each_channel(tmp_path: Path) -> None:
    model = classifier(2)
    model.save(tmp_path / "m.keras")
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)
    made, ours = take(tmp_path / "m.keras", tmp_path / "out", (0.0, 1.0), mean=mean, std=std)
    pictures = made_up_images(8, SIDE, seed=9)
    kernel, bias = model.get_layer("dense").get_weights()
    expected = ((pictures / 255 - mean) / std).mean(axis=(1, 2)) @ kernel + bias
    np.testing.assert_allclose(ours(np.float32(pictures)), expected, atol=1e-4)
    assert made.facts["macs"] == 3 * 2  # what scales the input is no convolution


def test_layers_keep_their_names_and_models_within_become_flat(tmp_path: Path) -> None:
    inner = tf_keras.Sequential([layers.Conv2D(8, 3, name="deep", input_shape=(SIDE, SIDE, 3)), layers.ReLU()], "block")
    model = tf_keras.Sequential(
        [inner, layers.GlobalAveragePooling2D(name="pool"), layers.Dense(3, activation="softmax", name="answer")]
    )
    model.save(tmp_path / "m.h5")
    _, ours = take(tmp_path / "m.h5", tmp_path / "out")
    assert [layer.name for layer in ours.layers][:2] == ["pixels", "block_deep"]
    assert [layer.name for layer in ours.layers][-2:] == ["pool", "answer"]
    assert "block_deep" in channels.follow(ours).groups


def test_a_range_is_stated_or_stands_in_the_network(tmp_path: Path) -> None:
    classifier(2).save(tmp_path / "silent.h5")
    with pytest.raises(RecipeError, match=r"does not say in which range it takes pixels.*--range 0,255"):
        take(tmp_path / "silent.h5", tmp_path / "a", ())
    pixels = tf_keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 127.5, -1.0)(pixels))
    tf_keras.Model(pixels, layers.Dense(2)(x)).save(tmp_path / "scales.h5")
    made, _ = take(tmp_path / "scales.h5", tmp_path / "b", ())
    assert made.facts["range"] == [0.0, 255.0]


def keras3_network(keras: Any, suffix: str) -> Any:
    """What the two Kerases write differently: arithmetic, slopes, a model within the model, statistics.

    Keras 3 itself cannot read arithmetic back from an .h5 file.
    """
    three = keras.layers
    pixels = keras.Input((SIDE, SIDE, 3))
    a = three.Conv2D(16, 3, padding="same", activation="relu", name="a")(pixels)
    b = three.LeakyReLU(negative_slope=0.1)(three.BatchNormalization(name="bn")(a))
    c = three.Add()([a, b])
    if suffix == "keras":
        c = c * 0.5 - 1.0 + a
    block = keras.Sequential(
        [
            three.Input((SIDE, SIDE, 32)),
            three.SeparableConv2D(24, 3, use_bias=False, activation="hard_sigmoid", name="sep"),
            three.Activation("silu"),
            three.Activation("hard_silu"),
        ],
        name="block",
    )
    x = block(three.Dropout(0.1)(three.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(c)))
    model = keras.Model(pixels, three.Dense(3, activation="softmax")(three.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(0)
    model.get_layer("bn").set_weights([rng.uniform(0.5, 1.5, 16) for _ in range(4)])
    return model


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_keras_3_model_becomes_a_keras_2_model(suffix: str, tmp_path: Path) -> None:
    import keras

    model = keras3_network(keras, suffix)
    model.save(tmp_path / f"m.{suffix}")
    made, ours = take(tmp_path / f"m.{suffix}", tmp_path / "out")
    assert made.facts["given"]["kind"] == "keras3"
    pictures = np.float32(made_up_images(8, SIDE, seed=9))
    expected = np.asarray(model(pictures, training=False))
    assert np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(tf_keras.activations.softmax(ours(pictures)), expected, atol=1e-5)
    structure = channels.follow(ours)
    assert {group.name for group in structure.prunable} == {"a"}
    # The hard sigmoid of a channel that is gone would be 1/2.
    assert "block_sep" in structure.groups


def test_a_layer_that_means_something_else_in_keras_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hard sigmoid is ``relu6(x + 3) / 6`` there, and ``clip(0.2 x + 0.5)`` in Keras 2, if no one knew of it."""
    import keras

    three = keras.layers
    model = keras.Sequential(
        [three.Input((SIDE, SIDE, 3)), three.Conv2D(4, 3, activation="hard_sigmoid"), three.Flatten(), three.Dense(2)]
    )
    model.save(tmp_path / "m.keras")
    monkeypatch.setattr(keras3, "_HARD", ())
    with pytest.raises(ModelError, match="its layers, made again, give other probabilities than the file"):
        take(tmp_path / "m.keras", tmp_path / "out", (0.0, 1.0))


@pytest.mark.parametrize("kind", ["keras 2, h5", "keras 3, h5", "keras 3, keras"])
def test_the_code_of_a_lambda_is_not_run(kind: str, tmp_path: Path) -> None:
    import keras

    mark = str(tmp_path / "run")

    def write(x: Any, mark: str = mark) -> Any:
        Path(mark).touch()
        return x

    made = (tf_keras if kind.startswith("keras 2") else keras).layers
    base = tf_keras if kind.startswith("keras 2") else keras
    model = base.Sequential([made.Input((SIDE, SIDE, 3)), made.Lambda(write), made.Flatten(), made.Dense(2)])
    path = tmp_path / f"m.{kind.rpartition(' ')[2]}"
    model.save(path)
    Path(mark).unlink()
    with pytest.raises(ModelError, match="Lambda"):
        take(path, tmp_path / "out")
    assert not Path(mark).exists()


def own_class(path: Path) -> None:
    tf_keras.Sequential([layers.Input((SIDE, SIDE, 3)), layers.Flatten(), layers.Dense(2)]).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"class_name": "Dense"', b'"class_name": "Mine"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def used_twice(path: Path) -> None:
    pixels, again = tf_keras.Input((SIDE, SIDE, 3)), layers.Conv2D(3, 3, padding="same", name="again")
    tf_keras.Model(pixels, layers.Dense(2)(layers.GlobalAveragePooling2D()(again(again(pixels))))).save(path)


def any_size(path: Path) -> None:
    pixels = tf_keras.Input((None, None, 3))
    tf_keras.Model(pixels, layers.Dense(2)(layers.GlobalAveragePooling2D()(pixels))).save(path)


@pytest.mark.parametrize(
    ("name", "write", "error", "message"),
    [
        ("m.keras", own_class, ModelError, 'class "Mine", which is code'),
        ("m.h5", used_twice, ModelError, 'layer "again" is used 2 times'),
        ("m.h5", any_size, RecipeError, r"takes images of any size; state data\.image_size"),
        ("m.h5", lambda path: classifier(1).save(path), ModelError, "a classifier of one output ends with a sigmoid"),
        ("m.h5", lambda path: classifier(2, "tanh").save(path), ModelError, 'ends with the activation "tanh"'),
        ("m.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), ModelError, r'model "m\.h5" cannot be read'),
        ("m.keras", lambda path: path.write_bytes(b"PK"), ModelError, "not a .keras file"),
        ("m.tflite", lambda path: path.write_bytes(b"0000TFL3"), ModelError, "a Keras model is wanted"),
    ],
)
def test_what_cannot_be_read_is_said(
    name: str, write: Callable[[Path], None], error: type[EdgekdError], message: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(error, match=message) as caught:
        take(tmp_path / name, tmp_path / "out")
    assert "\n" not in str(caught.value)


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prune.rounds": 2}, r'"prune\.rounds" says nothing where no network is trained'),
        ({"prune.keep_mac": 0.5}, r'did you mean "prune\.keep_macs"'),
        (
            {"prune.criterion": "taylor"},
            r'prune\.criterion = "taylor" needs labelled images.*allowed here: l1, bn_scale',
        ),
        ({"prune.keep_macs": 0.0}, r"prune\.keep_macs = 0\.0: allowed: above 0"),
        ({"teacher.file.range": [1.0]}, r"teacher\.file\.range = \[1\.0\]: two numbers"),
        ({"quantize.variants": ["int8"]}, r"quantize\.variants: fp32 is what the others are compared with"),
    ],
)
def test_settings_that_make_no_sense_here(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    classifier(2).save(tmp_path / "m.h5")
    with pytest.raises(RecipeError, match=message):
        load(tmp_path / "m.h5", settings)


# From end to end


@pytest.fixture(scope="module")
def third_party(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The network of MLPerf Tiny, through the command line; the run folder and what was printed."""
    out = tmp_path_factory.mktemp("compressed")
    words = ["compress", str(shared_data / "thirdparty_models" / "pretrainedResnet.h5"), "--range", "0,255"]
    words += ["--out", str(out / "run"), "--cache-dir", str(out / "cache"), "--quiet"]
    words += [part for key, value in FAST.items() for part in ("--set", f"{key}={value}")]
    result = CliRunner().invoke(main, [*words, "--set", "data.num_calibration_samples=64"])
    assert result.exit_code == 0, result.output
    return out / "run", result.output


def test_third_party_says_that_accuracy_was_not_measured(third_party: tuple[Path, str]) -> None:
    run, printed = third_party
    document = read_json(run / "compression.json")
    assert document["accuracy_measured"] is False
    assert [row["test"] for row in document["models"]] == [None] * 4
    text = (run / "compression.md").read_text()
    for told in (text.replace("**", ""), printed):
        assert "Accuracy was not measured" in " ".join(told.split())
    assert "noise whose amplitude falls with the frequency" in text


def test_third_party_figures_are_those_of_the_files(third_party: tuple[Path, str]) -> None:
    run, _ = third_party
    document = read_json(run / "compression.json")
    rows = {row["id"]: row for row in document["models"]}
    assert list(rows) == ["original_fp32", "original_int8", "pruned_fp32", "pruned_int8"]
    for row in rows.values():
        path = run / row["file"]
        assert (row["tflite_bytes"], row["sha256"]) == (path.stat().st_size, sha256_file(path))
        assert row["latency"][0]["p50_ms"] > 0
    # Stem 442,368; stacks 2 * 2,359,296, then twice 1,179,648 + 2,359,296 + 131,072; classifier 640.
    assert rows["original_int8"]["macs"] == 12_501_632 == document["channel_pruning"]["macs"]["before"]
    assert rows["pruned_int8"]["macs"] <= 0.5 * 12_501_632
    assert rows["pruned_int8"]["tflite_bytes"] < 0.8 * rows["original_int8"]["tflite_bytes"]
    assert [rows[id]["steps"] for id in ("original_fp32", "pruned_int8")] == [[], ["channel_pruned", "ptq"]]
    assert [rows[id]["dtype"] for id in rows] == ["fp32", "int8"] * 2


def test_third_party_answers_as_the_published_tflite_does(third_party: tuple[Path, str], shared_data: Path) -> None:
    """Its authors converted the same network themselves: float, from the same pixels."""
    pictures = made_up_images(32, 32, seed=77)
    interpreter = open_interpreter(shared_data / "thirdparty_models" / "pretrainedResnet.tflite")
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    expected = []
    for picture in np.float32(pictures):
        interpreter.set_tensor(taken, picture[None])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(given)[0].copy())
    found = predict_probs(third_party[0] / "models" / "original_fp32.tflite", pictures)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_third_party_parity_is_that_of_the_files(third_party: tuple[Path, str]) -> None:
    """The test images are the last 64 of three times 64."""
    run, _ = third_party
    document = read_json(run / "compression.json")
    pictures = made_up_images(192, 32, seed=0)[128:]
    probs = {row["id"]: predict_probs(run / row["file"], pictures) for row in document["models"]}
    assert len(document["comparisons"]) == 4
    for pair in document["comparisons"]:
        first, second = probs[pair["model"]], probs[pair["against"]]
        assert pair["n"] == 64
        assert pair["agreement"] == np.mean(first.argmax(axis=1) == second.argmax(axis=1))
        assert pair["max_prob_difference"] == pytest.approx(np.abs(first - second).max())
    shares = {id: np.bincount(probs[id].argmax(axis=1)).max() / 64 for id in ("original_fp32", "pruned_fp32")}
    told = [text.split()[0] for text in document["warnings"] if "alike: that its forms agree says little" in text]
    assert told == [id for id, share in shares.items() if share >= 0.9]
    surgery = document["channel_pruning"]["against_zeroed"]
    assert surgery["max_prob_difference"] <= 1e-4
    assert surgery["agreement"] == 1


def test_third_party_can_be_trained_on(third_party: tuple[Path, str]) -> None:
    run, _ = third_party
    model = tf_keras.models.load_model(run / "models" / "pruned.h5", compile=False)
    pictures = made_up_images(8, 32, seed=5)
    probs = tf_keras.activations.softmax(model(np.float32(pictures)))
    np.testing.assert_allclose(probs, predict_probs(run / "models" / "pruned_fp32.tflite", pictures), atol=1e-4)


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """A classifier of bright halves, and images of both kinds (``tests/conftest.py``)."""
    kernel = np.zeros((SIDE, SIDE, 3, 2), np.float32)
    kernel[:, : SIDE // 2, :, 0] = kernel[:, SIDE // 2 :, :, 1] = 10 / (SIDE * SIDE // 2 * 3)
    model = tf_keras.Sequential([layers.Input((SIDE, SIDE, 3)), layers.Flatten(), layers.Dense(2)])
    model.layers[-1].set_weights([kernel.reshape(-1, 2), np.zeros(2)])
    model.save(tmp_path / "halves.h5")
    arrays = {}
    for seed, (split, count) in enumerate({"train": 32, "val": 8, "test": 20}.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = make_images(count, seed, SIDE)
    arrays["test_labels"][:5] = 1 - arrays["test_labels"][:5]  # a quarter is labelled wrongly
    np.savez(tmp_path / "halves.npz", **arrays)
    return tmp_path


def test_with_data_accuracy_is_measured(halves: Path) -> None:
    settings = {"data.path": str(halves / "halves.npz"), "prune.keep_macs": 1.0, "teacher.file.range": [0, 1], **FAST}
    document = compress(load(halves / "halves.h5", settings), halves / "run", cache=Cache(halves / "cache"))
    assert document["accuracy_measured"] is True
    assert document["channel_pruning"] is None
    assert [(row["id"], row["test"]["top1"]) for row in document["models"]] == [
        ("original_fp32", 0.75),
        ("original_int8", 0.75),
    ]
    text = (halves / "run" / "compression.md").read_text()
    assert "has a top-1 of 0.750; against it original_int8 +0.0 points" in text
    assert "not measured" not in text


def test_the_networks_outputs_must_be_the_datas_classes(halves: Path) -> None:
    classifier(3).save(halves / "three.h5")
    words = ["compress", str(halves / "three.h5"), "--data", str(halves / "halves.npz"), "--range", "0,1", "--quiet"]
    result = CliRunner().invoke(main, [*words, "--out", str(halves / "run"), "--cache-dir", str(halves / "cache")])
    assert result.exit_code == 2
    assert "three.h5 has 3 outputs, the data 2 classes" in result.output
    assert [path.name for path in (halves / "run").iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--range", "0-255"], '--range "0-255": numbers with commas between them'),
        (["--range", "0,1", "--keep-macs", "0.001"], "prune: keep_macs = 0.001 cannot be reached"),
        (["--range", "0,1", "--set", "prune.protected_layers=['convv']"], 'did you mean "conv"'),
    ],
)
def test_wrong_turns_on_the_command_line(words: list[str], message: str, tmp_path: Path) -> None:
    pixels = tf_keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(16, 3, activation="relu", name="conv")(pixels)
    tf_keras.Model(pixels, layers.Dense(2)(layers.GlobalAveragePooling2D()(x))).save(tmp_path / "m.h5")
    common = ["--out", str(tmp_path / "run"), "--cache-dir", str(tmp_path / "cache"), "--quiet"]
    result = CliRunner().invoke(main, ["compress", str(tmp_path / "m.h5"), *common, *words])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
