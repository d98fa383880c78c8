"""What may import what: the levels of the package, the few doors to heavy libraries, and nothing done at import."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import edgekd

ROOT = Path(edgekd.__file__).resolve().parent

# A module imports from the rows above its own. Rows of one number make up one level of the design.
LEVELS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.0, ("errors", "units", "quiet", "host", "plots")),
    (0.1, ("registry", "options", "progress", "child", "children", "mapped")),
    (0.1, ("cluster",)),
    (0.2, ("tasks",)),
    (1.0, ("artifact", "preprocessing", "_keras", "_litert", "steady", "machine")),
    (1.1, ("target",)),
    (1.0, ("config", "config.training", "config.data", "config.verify", "config.benchmark")),
    (1.0, ("config.sensitivity",)),
    (1.0, ("config.budget", "config.blocks")),
    (1.1, ("config.search",)),
    (1.0, ("config.bundle", "config.report")),
    (1.1, ("config.teacher", "config.distill", "config.prune", "config.quantize")),
    (1.1, ("config.nas",)),
    (1.0, ("report_format",)),
    (1.1, ("run_report",)),
    (0.1, ("requirements",)),
    (1.2, ("recipe", "limits")),
    (1.3, ("ladder",)),
    (1.1, ("workers",)),
    (1.2, ("synchronize", "checkpoint")),
    (1.9, ("verification",)),
    (2.0, ("apart",)),
    (2.0, ("statistics", "views", "run_folder", "manifest", "onnx_export", "ensemble", "model_process")),
    (2.0, ("keras3_process",)),
    (2.0, ("losses.logits", "losses.features", "losses.contrast", "logits_store")),
    (2.0, ("latency_plot",)),
    (1.0, ("charts", "charts.palette", "charts.waterfall")),
    (1.1, ("charts.draw",)),
    (1.2, ("charts.curves", "charts.distributions", "charts.latencies", "charts.layers", "charts.pareto")),
    (1.2, ("charts.recalls", "charts.reliability")),
    (2.0, ("kernels", "fake_quant.obstacles", "fake_quant.ranges", "fake_quant.scheme")),
    (2.1, ("workload", "tensorboard")),
    (2.1, ("fake_quant.wrapped",)),
    (2.1, ("metrics", "latency", "losses.terms")),
    (2.0, ("verification.bootstrap", "verification.kernels", "verification.corruptions", "verification.scores")),
    (2.0, ("verification.disagreements",)),
    (2.1, ("verification.classes",)),
    (2.2, ("verification.subgroups", "verification.robustness")),
    (2.2, ("losses", "claims", "fake_quant")),
    (2.3, ("attribution", "budget_report", "evidence")),
    (2.4, ("lookalikes",)),
    (2.0, ("tflite.edit",)),
    (2.1, ("tflite.sparse",)),
    (2.2, ("tflite.view", "data.dataset", "data.source", "data.medmnist", "data.dicom")),
    (2.1, ("data.archive",)),
    (2.2, ("data.spelling", "data.draw", "data.rows")),
    (2.25, ("data.groups", "data.copies")),
    (2.3, ("data.arrange", "data.columns")),
    (2.32, ("data.dicom_headers", "data.tfrecord")),
    (2.35, ("data.folder",)),
    (2.37, ("data.table",)),
    (2.1, ("models.layers", "models.taps", "models.graft", "models.weights")),
    (2.0, ("models.kinds",)),
    (2.1, ("models.foreign", "models.given")),
    (2.2, ("models.applications", "models.answers", "models.keras_file", "models.keras3")),
    (2.25, ("models.published", "models.teachers", "models.blocks")),
    (2.3, ("tflite.cost", "tflite.metadata", "tflite.layers", "tflite.calibration", "models.students")),
    (2.4, ("models",)),
    (2.0, ("allocation",)),
    (2.1, ("zeros", "pruning_report")),
    (2.1, ("channels.operators", "channels.weights")),
    (2.2, ("channels.graph",)),
    (2.3, ("channels.rules",)),
    (2.4, ("channels.groups",)),
    (2.5, ("channels.plan", "channels.macs", "channels.criteria")),
    (2.6, ("channels.choose", "channels.surgery")),
    (2.7, ("channels",)),
    (2.3, ("data.cifar100", "data.npz", "data.synthetic_cells", "data.made_up")),
    (2.25, ("preprocessing_times",)),
    (2.2, ("distributions",)),
    (2.3, ("benchmark_input",)),
    (2.4, ("interleave", "measuring")),
    (2.5, ("latency_rows",)),
    (2.4, ("tflite.convert", "tflite.describe", "tflite.metadata_reader", "tflite.layer_errors", "data.sources")),
    (2.4, ("tflite.memory",)),
    (2.45, ("tflite.float_layers", "tflite.mixed")),
    (2.3, ("data.coverage",)),
    (2.4, ("verification.unfamiliar",)),
    (2.5, ("verification.feeding",)),
    (2.6, ("verification.findings",)),
    (2.1, ("data.pool", "data.fingerprint", "data.contact_sheet")),
    (2.3, ("data.leaks", "data.decode")),
    (2.35, ("data.leak_check", "data.tally")),
    (2.45, ("data.redraw",)),
    (2.5, ("data.look", "data.known")),
    (2.55, ("data.sheets",)),
    (2.5, ("tflite", "data.prepare")),
    (2.6, ("data", "encoding", "micro")),
    (2.7, ("goldens", "provenance")),
    (2.6, ("inspect.tables", "inspect.mediapipe", "inspect.anatomy")),
    (2.7, ("inspect.forecast",)),
    (2.75, ("vela",)),
    (2.8, ("target_limits",)),
    (2.7, ("step",)),
    (2.8, ("training", "objectives", "channel_choice")),
    (2.7, ("mixed_precision",)),
    (2.9, ("curves", "batchnorm", "lesson", "meta")),
    (2.95, ("sparsity_choice",)),
    (2.8, ("page.figures", "page.words", "page.serving")),
    (2.9, ("page.card", "page.decisions", "page.drawings")),
    (2.91, ("page.sections",)),
    (2.92, ("page",)),
    (2.1, ("supernet",)),
    (2.85, ("supernet.space",)),
    (2.9, ("supernet.elastic",)),
    (2.95, ("supernet.sandwich",)),
    (3.0, ("stages", "stages.teacher", "stages.teacher_logits", "stages.distill", "stages.quantize")),
    (3.0, ("stages.prune_weights", "stages.prune_channels", "stages.sensitivity")),
    (3.0, ("stages.cluster_weights", "stages.qat", "stages.supernet")),
    (3.0, ("stages.adopt", "stages.make_up", "stages.cut_channels", "stages.compare")),
    (2.0, ("serving", "serving.cost", "serving.saved_model", "serving.report")),
    (3.0, ("stages.fit", "stages.compile", "stages.export", "stages.throughput")),
    (4.2, ("serving.child", "vela_child")),
    (4.2, ("recheck.npu", "recheck.serving")),
    (3.0, ("stages.verify", "stages.benchmark", "stages.bundle", "stages.report", "stages.given")),
    (3.1, ("timing",)),
    (3.1, ("ablation_table", "compression_table", "sensitivity_table")),
    (3.2, ("ablation_plot", "sensitivity_plot")),
    (4.0, ("cache", "runtime", "measure")),
    (4.0, ("compress_settings",)),
    (4.05, ("rewrite", "joint")),
    (4.1, ("cache_upkeep", "doctor")),
    (4.1, ("stage_runner", "keys", "preflight", "android", "device_rows", "comparison")),
    (4.1, ("forms",)),
    (4.12, ("target_stages", "training_stages")),
    (4.15, ("builder",)),
    (4.18, ("local_workers",)),
    (4.2, ("pipeline", "chains", "compress")),
    (4.3, ("worker_child",)),
    (4.3, ("chain_child", "ablate", "sensitivity", "budget", "teacher_logits")),
    (4.15, ("targets_page",)),
    (4.32, ("targets_build",)),
    (4.3, ("search.policy",)),
    (4.4, ("search.space", "search.policy_sampler")),
    (4.45, ("search.study",)),
    (4.5, ("search.trial", "search.result", "search.outcome")),
    (4.6, ("search.child", "search.plot", "search.workers")),
    (4.7, ("search",)),
    (2.0, ("nas.evolution", "nas.timed")),
    (2.9, ("nas.forms",)),
    (3.1, ("nas.latency_table",)),
    (3.2, ("nas.candidates",)),
    (4.6, ("nas.finalists", "nas.result")),
    (4.7, ("nas.plot",)),
    (4.8, ("nas",)),
    (4.35, ("api",)),
    (4.1, ("model_child", "arm64", "arm64.pins")),
    (4.2, ("arm64.fetch", "arm64.emulator", "micro_child")),
    (4.3, ("arm64.install",)),
    (4.3, ("arm64.count_child", "arm64.instructions")),
    (4.4, ("arm64.compare",)),
    (4.4, ("layer_errors", "pictures")),
    (4.4, ("mlflow_log", "estimate")),
    (4.2, ("pace_child",)),
    (4.0, ("init.look",)),
    (4.05, ("init.choose",)),
    (4.07, ("init.write",)),
    (4.1, ("init",)),
    (4.2, ("layer_errors_child",)),
    (4.3, ("inspect",)),
    (4.1, ("recheck.check",)),
    (4.2, ("recheck.bundle", "recheck.report")),
    (4.0, ("outside", "outside.bounded", "outside.far_probe", "outside.far_side", "outside.shipped")),
    (4.1, ("outside.session",)),
    (4.15, ("outside.device",)),
    (4.2, ("outside.child", "outside.litert_c", "outside.litert_tool", "outside.onnx_runtime")),
    (4.2, ("outside.ssh_connection", "outside.adb_connection")),
    (4.25, ("outside.ssh",)),
    (4.3, ("op_profile",)),
    (4.35, ("outside.benchmark_model",)),
    (4.4, ("outside.adb",)),
    (4.4, ("",)),  # edgekd itself, which names its public functions
    (4.45, ("recheck.scores",)),
    (4.5, ("recheck.figures", "recheck.on_target")),
    (4.6, ("recheck",)),
    (5.0, ("cli.output", "cli.options")),
    (5.05, ("cli.outside_tables",)),
    (5.06, ("cli.outside",)),
    (5.1, ("cli.build", "cli.ablate", "cli.benchmark", "cli.bundle", "cli.report", "cli.compress")),
    (5.1, ("cli.sensitivity", "cli.nas")),
    (5.1, ("cli.inspect", "cli.verify", "cli.search", "cli.teacher_logits")),
    (5.1, ("cli.target",)),
    (5.1, ("cli.layer_errors", "cli.data")),
    (5.05, ("cli.plan", "cli.run")),
    (5.1, ("cli.cache", "cli.completion", "cli.doctor", "cli.init")),
    (5.2, ("cli",)),
    (5.3, ("__main__",)),
)
LEVEL_OF = {name: level for level, names in LEVELS for name in names}

# The one module, or package, that imports each of these.
DOORS = {
    **{"tf_keras": "_keras", "tensorflow_model_optimization": "_keras", "ai_edge_litert": "_litert"},
    **{"click": "cli", "tf2onnx": "onnx_export", "onnxruntime": "model_process", "optuna": "search"},
    **{"mlflow": "mlflow_log"},
    **{"pydicom": "data.dicom", "pyarrow": "data.rows", "openpyxl": "data.rows"},
    **{"tflite_micro": "micro_child", "ethosu": "vela_child"},
}

WITHOUT_TENSORFLOW = ("runtime", "measure", "model_child", "preprocessing", "manifest", "tasks", "_litert")


@functools.cache
def trees() -> dict[str, ast.Module]:
    """Every module of the package by its name below ``edgekd``; the package itself is the empty name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def nodes(tree: ast.AST, *, typing_too: bool) -> list[ast.AST]:
    """All nodes, with or without what stands below ``if TYPE_CHECKING``."""
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        found.append(node)
        for_typing = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        waiting += node.orelse if for_typing and not typing_too else ast.iter_child_nodes(node)
    return found


def imported(tree: ast.AST, *, typing_too: bool = True) -> set[str]:
    """Dotted names that a module imports, at its top or within a function; ``from a import b`` gives ``a.b``."""
    found = set()
    for node in nodes(tree, typing_too=typing_too):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import: {ast.unparse(node)}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inside(dotted: str) -> str | None:
    """The module of ours that a dotted name belongs to; None for other packages."""
    if dotted.split(".")[0] != "edgekd":
        return None
    name = dotted.partition(".")[2]
    while name and name not in trees():
        name = name.rpartition(".")[0]
    return name


@functools.cache
def graph() -> dict[str, set[str]]:
    return {
        name: {inner for dotted in imported(tree) if (inner := inside(dotted)) is not None} - {name}
        for name, tree in trees().items()
    }


def reached(start: str) -> set[str]:
    """Modules of ours that run when ``start`` and what its functions import run, the packages on the way included."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        targets = (inside(dotted) for dotted in imported(trees()[name], typing_too=False))
        waiting += [target for target in targets if target is not None]
    return found


def test_the_walk_sees_function_level_and_typing_imports() -> None:
    text = (
        "import a.b\nif TYPE_CHECKING:\n    from c import d\nelse:\n    import e\ndef f():\n    from g.h import i, j\n"
    )
    assert imported(ast.parse(text)) == {"a.b", "c.d", "e", "g.h.i", "g.h.j"}
    assert imported(ast.parse(text), typing_too=False) == {"a.b", "e", "g.h.i", "g.h.j"}
    assert (inside("edgekd.data.npz.load_npz"), inside("edgekd.build"), inside("numpy.typing")) == (
        "data.npz",
        "",
        None,
    )


def test_every_module_has_a_level_and_every_level_a_module() -> None:
    assert sorted(LEVEL_OF) == sorted(trees())
    assert len(LEVEL_OF) == sum(len(names) for _, names in LEVELS)


@pytest.mark.parametrize("name", sorted(trees()))
def test_a_module_imports_from_lower_levels_only(name: str) -> None:
    level = LEVEL_OF[name]
    too_high = {target: LEVEL_OF[target] for target in graph()[name] if LEVEL_OF[target] >= level}
    assert too_high == {}, f"edgekd.{name} is on level {level:g}"


def test_no_import_cycle() -> None:
    order = list(TopologicalSorter(graph()).static_order())  # raises CycleError, which names the modules
    assert len(order) == len(trees())


def test_stages_know_neither_each_other_nor_what_runs_them() -> None:
    stages = {name for name in trees() if name.startswith("stages.")}
    assert len(stages) >= 9
    forbidden = {*stages, "stages", "cache", "stage_runner", "pipeline", "run_folder", "api", "cli"}
    assert {name: targets for name in stages if (targets := graph()[name] & forbidden)} == {}


@pytest.mark.parametrize(("package", "door"), DOORS.items())
def test_a_heavy_package_has_one_door(package: str, door: str) -> None:
    importers = {name for name, tree in trees().items() if package in {part.split(".")[0] for part in imported(tree)}}
    assert {name if name == door else name.rpartition(".")[0] for name in importers} == {door}


@pytest.mark.parametrize("name", WITHOUT_TENSORFLOW)
def test_what_runs_on_a_device_imports_no_training(name: str) -> None:
    heavy = {"tensorflow", "tf_keras", "tensorflow_model_optimization", "scipy", "sklearn", "jinja2", "click"}
    packages = {
        (module, dotted.split(".")[0])
        for module in reached(name)
        for dotted in imported(trees()[module], typing_too=False)
    }
    assert {(module, package) for module, package in packages if package in heavy} == set()


def test_the_walk_finds_tensorflow_where_it_is() -> None:
    assert "_keras" in reached("stages.quantize")
    assert "_keras" in reached("data.sources")  # only through a function of data.cifar100


def loaded_after(code: str) -> set[str]:
    """Top-level packages that are loaded after a new interpreter has run ``code``."""
    report = "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_device_loads_numpy_pillow_and_litert_alone() -> None:
    modules = ", ".join(f"edgekd.{name}" for name in WITHOUT_TENSORFLOW)
    loaded = loaded_after(f"import {modules}")
    assert {"numpy", "PIL", "ai_edge_litert"} <= loaded
    assert (
        loaded & {"tensorflow", "tf_keras", "keras", "scipy", "sklearn", "rich", "click", "jinja2", "psutil"} == set()
    )


def test_nothing_happens_at_import() -> None:
    loaded = loaded_after("import edgekd, edgekd.cli, edgekd.api")
    assert "click" in loaded
    assert loaded & {"tensorflow", "tf_keras", "scipy", "sklearn", "numpy", "PIL", "ai_edge_litert", "rich"} == set()


def test_only_child_processes_print() -> None:
    """Results go through click and logs through the logger; a child process answers on stdout."""
    printers = {
        name
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printers == {"measure", "child", "model_child"}


def test_one_logger() -> None:
    names = {
        ast.unparse(node.value)
        for tree in trees().values()
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "logger"
    }
    assert names == {"logging.getLogger('edgekd')"}
