from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgekd import options, recipe
from edgekd.errors import RecipeError


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_builtin_recipes_load_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    loaded = recipe.load(name, {"data.path": "somewhere"} if name == "default" else None)
    path = tmp_path / "again.toml"
    path.write_text(recipe.to_toml(loaded))
    assert recipe.load(str(path)) == loaded
    assert loaded.name == name


def test_builtin_names() -> None:
    assert recipe.builtin_names() == ["breastmnist", "cifar100", "default", "pneumoniamnist", "quickstart"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distil.temperature": 2.0}, 'unknown key "distil"; did you mean "distill"?'),
        ({"distill.temprature": 2.0}, 'unknown key "distill.temprature"; did you mean "temperature"?'),
        ({"distill.temperature": 0.0}, "distill.temperature = 0.0: allowed: above 0 and at most 100"),
        ({"distill.temperature": -1.0}, "distill.temperature = -1.0: allowed: above 0 and at most 100"),
        ({"distill.temperature_end": 0.0}, "distill.temperature_end = 0.0: allowed: above 0 and at most 100"),
        ({"distill.temperature": float("nan")}, "distill.temperature = nan: allowed: above 0"),
        ({"distill.temperature": "hot"}, "distill.temperature = 'hot': a number is wanted"),
        ({"distill.hard_loss_weight": 1.5}, "allowed: at least 0 and at most 1"),
        ({"distill.num_views": 2.5}, "distill.num_views = 2.5: a whole number is wanted"),
        ({"distill.train_alone": 1}, "distill.train_alone = 1: true or false is wanted"),
        ({"prune.final_sparsity": 1}, "prune.final_sparsity = 1.0: allowed: at least 0 and below 1"),
        ({"prune.initial_sparsity": 0.9}, "prune.initial_sparsity = 0.9: at most prune.final_sparsity, 0.5"),
        ({"prune.schedule": "linear"}, 'prune.schedule = "linear": allowed: polynomial, constant'),
        ({"prune.layer_sparsities": {"logits": 1}}, 'layer_sparsities."logits" = 1.0: allowed: at least 0 and below 1'),
        (
            {"prune.pattern": "2:4", "prune.final_sparsity": 0.85},
            'prune.final_sparsity = 0.85: prune.pattern = "2:4" makes it 0.5',
        ),
        (
            {"prune.pattern": "2:4", "prune.layer_sparsities": {"logits": 0.25}},
            'prune.layer_sparsities."logits" = 0.25: prune.pattern = "2:4" makes it 0.0 or 0.5',
        ),
        (
            {"prune.pattern": "2:4", "prune.allocation": "sensitivity"},
            'prune.allocation = "sensitivity": prune.pattern = "2:4" has half of each layer',
        ),
        (
            {"prune.schedule": "constant", "prune.initial_sparsity": 0.25},
            'prune.initial_sparsity = 0.25: prune.schedule = "constant" has its sparsity from the first step on',
        ),
        ({"quantize.encoding": "sparse"}, 'quantize.encoding = "sparse": allowed: dense, smallest'),
        ({"prune.method": "weigth"}, 'prune.method = "weigth": allowed: none, weight, channel, cluster; did'),
        ({"prune.num_clusters": 1}, "prune.num_clusters = 1: allowed: at least 2 and at most 256"),
        ({"quantize.method": "qta"}, 'quantize.method = "qta": allowed: ptq, qat; did you mean "qat"?'),
        ({"quantize.training.epoch": 3}, 'unknown key "quantize.training.epoch"; did you mean "epochs"?'),
        (
            {"quantize.method": "qat", "quantize.calibration": "mse"},
            'quantize.calibration = "mse": quantize.method = "qat" starts at min_max',
        ),
        (
            {"quantize.method": "qat", "quantize.mixed": "auto"},
            'quantize.mixed = "auto": quantize.method = "qat" trains every layer as INT8',
        ),
        (
            {"quantize.method": "qat", "quantize.float_layers": ["logits"]},
            'quantize.float_layers = ["logits"]: quantize.method = "qat" trains every layer as INT8',
        ),
        (
            {"quantize.method": "qat", "quantize.reestimate_batchnorm": True},
            'quantize.reestimate_batchnorm = true: quantize.method = "qat" fits its ranges to the statistics',
        ),
        ({"prune.keep_macs": 0.0}, "prune.keep_macs = 0.0: allowed: above 0 and at most 1"),
        ({"prune.criterion": "tailor"}, 'allowed: l1, bn_scale, taylor, sensitivity; did you mean "taylor"?'),
        ({"prune.rounds": 0}, "prune.rounds = 0: allowed: at least 1"),
        ({"prune.protected_layers": "stem"}, "prune.protected_layers = 'stem': a list is wanted"),
        ({"teacher.training.schedule": "linear"}, "allowed: cosine, step, constant"),
        ({"teacher": 3}, '"teacher" is a table of keys, not 3'),
        ({"teacher.model.depth": 3}, '"teacher.model.depth": "model" is a value'),
        ({"gates.min_recall": 0.5}, "a table of names and numbers is wanted"),
        ({"gates.min_recall": {"normal": 1.5}}, 'gates.min_recall."normal" = 1.5: allowed: at least 0 and at most 1'),
        ({"quantize.variants": ["fp32"]}, "int8 is the shipped model"),
        (
            {"quantize.mixed": "auto", "quantize.float_layers": ["stem"]},
            "chooses the layers that quantize.float_layers",
        ),
        ({"quantize.calibration": "percentil"}, 'allowed: min_max, percentile, mse; did you mean "percentile"'),
        ({"quantize.calibration_percentile": 50.0}, "allowed: above 50 and at most 100"),
        ({"quantize.variants": ["int4", "int8"]}, 'quantize.variants = "int4": allowed: fp32, fp16, dynamic, int8'),
        ({"data.image_size": 8}, "data.image_size = 8: at least 16, or 0"),
        ({"data.val_fraction": 0.45, "data.test_fraction": 0.45}, "below 0.8"),
        ({"data.name": ""}, "name a data set"),
        ({"seed": -1}, "seed = -1: allowed: at least 0"),
    ],
)
def test_wrong_values_are_named_with_what_is_allowed(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load("quickstart", changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quikstart", 'unknown recipe "quikstart"; did you mean "quickstart"?'),
        ("nowhere.toml", 'recipe "nowhere.toml" does not exist; built-in recipes: breastmnist, cifar100'),
    ],
)
def test_unknown_recipes(name: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load(name)
    assert message in str(caught.value)


def test_a_folder_where_a_recipe_belongs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"did you mean --data {tmp_path}"):
        recipe.load(str(tmp_path))


def test_broken_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[data\n")
    with pytest.raises(RecipeError, match=r'broken.toml" is not valid TOML'):
        recipe.load(str(path))


@pytest.mark.parametrize(
    ("text", "value"),
    [("2.5", 2.5), ("3", 3), ("true", True), ("[1, 2]", [1, 2]), ("weight", "weight"), ('"x"', "x")],
)
def test_parse_value(text: str, value: object) -> None:
    assert recipe.parse_value(text) == value


def test_sized_to_fills_in_what_the_recipe_leaves_to_the_data() -> None:
    # 28 pixels: 32 is the first side of at least 21. 60,000 / 1,000 = 60 teacher epochs; 120,000 / 1,000 = 120, at most
    # 100; 40,000 / 1,000 = 40. 1,000 // 8 = 125 images a step at most.
    sized = recipe.sized_to(recipe.load("default", {"data.path": "x"}), num_train=1000, median_side=28, num_threads=3)
    assert sized.data.image_size == 32
    assert (sized.teacher.training.epochs, sized.distill.training.epochs, sized.prune.training.epochs) == (60, 100, 40)
    assert sized.teacher.training.batch_size == 125
    assert sized.num_threads == 3
    # 20,000 / 1,000 = 20, where the student trains on as INT8; else there is nothing to fill in.
    assert sized.quantize.training.epochs == 0
    aware = recipe.load("default", {"data.path": "x", "quantize.method": "qat"})
    trained = recipe.sized_to(aware, num_train=1000, median_side=28, num_threads=3).quantize.training
    assert (trained.epochs, trained.batch_size) == (20, 125)


@pytest.mark.parametrize(("side", "size"), [(20, 32), (42, 32), (43, 64), (85, 64), (128, 96), (129, 128), (2000, 128)])
def test_sized_to_image_size(side: int, size: int) -> None:
    # The smallest of 32, 64, 96, 128 that is at least three quarters of the side.
    sized = recipe.sized_to(recipe.load("default", {"data.path": "x"}), num_train=10, median_side=side, num_threads=1)
    assert sized.data.image_size == size


def test_sized_to_leaves_what_the_recipe_says() -> None:
    loaded = recipe.load("pneumoniamnist", {"num_threads": 1})
    assert recipe.sized_to(loaded, num_train=4708, median_side=28, num_threads=2) == loaded


def _options(cls: type, prefix: str = "") -> list[tuple[str, dataclasses.Field[object]]]:
    found = []
    for item in dataclasses.fields(cls):
        kind = options.field_types(cls)[item.name]
        found += (
            _options(kind, f"{prefix}{item.name}.") if dataclasses.is_dataclass(kind) else [(prefix + item.name, item)]
        )
    return found


def test_every_key_is_documented() -> None:
    keys = _options(recipe.Recipe)
    assert len(keys) > 60
    assert [name for name, item in keys if not item.metadata.get("doc")] == []


@pytest.mark.parametrize(("key", "value"), [("gates.max_accuracy_drop_pp", 1.0), ("distill.train_alone", True)])
def test_comparison_with_fp32_needs_fp32(key: str, value: object) -> None:
    with pytest.raises(RecipeError, match=rf"{key} compares with the student in fp32; add fp32 to quantize.variants"):
        recipe.load("default", {"data.path": "x", "gates": {}, "quantize.variants": ["int8"], key: value})


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/x", "a/b", "..", "."])
def test_name_cannot_lead_to_another_folder(name: str) -> None:
    with pytest.raises(RecipeError, match="may not lead to another one"):
        recipe.load("quickstart", {"name": name})


def test_empty_name_is_refused() -> None:
    with pytest.raises(RecipeError, match='name = "": a recipe has a name; leave the key out to use "quickstart"'):
        recipe.load("quickstart", {"name": ""})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("2.5", 2.5),
        ("true", True),
        ('"1"', "1"),
        ("[1, 2]", [1, 2]),
        ("{a = 1}", {"a": 1}),
        ("plain words", "plain words"),
        ("2024-01-01", "2024-01-01"),
        ("1 # one", "1 # one"),
        ("1, 2", "1, 2"),
        ("", ""),
    ],
)
def test_values_of_the_command_line(text: str, value: object) -> None:
    found = recipe.parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_value_of_two_lines_is_refused() -> None:
    with pytest.raises(RecipeError, match="one line is wanted"):
        recipe.parse_value("1\nname = 2")


def test_losses_are_a_name_or_a_table() -> None:
    assert recipe.load("quickstart", {"distill.loss": "dkd"}).distill.loss == {"dkd": 1.0}
    assert recipe.load("quickstart", {"distill.loss": {"kd": 1, "dist": 0.5}}).distill.loss == {"kd": 1.0, "dist": 0.5}
    with pytest.raises(RecipeError, match=r"distill.loss = 3: a name, or a table of names and numbers is wanted"):
        recipe.load("quickstart", {"distill.loss": 3})
    with pytest.raises(RecipeError, match=r"distill.layer_pairs = 'a': a table of names and names is wanted"):
        recipe.load("quickstart", {"distill.layer_pairs": "a"})
    with pytest.raises(RecipeError, match=r'distill.loss."kd" = -1.0: allowed: at least 0'):
        recipe.load("quickstart", {"distill.loss": {"kd": -1}})
