"""What compression brings, on real data: channel pruning, weight pruning and INT8, against the unpruned student.

For every seed each variant of one recipe is a whole chain up to verify that lives off the cache, so that a call that
was broken off goes on where it was. Then the files of all variants, the student alone and a large reference model are
timed together, interleaved, on one thread. The reference is a file that takes the same pixels, such as the
models/teacher_fp32.tflite of a build with another teacher. Accuracy differences are paired: by seed over the means, and
by image where two files meet. Settings come from the recipe and from VARIANTS; none of them is chosen here.

    python benchmarks/compression.py --jobs 2 --set num_threads=1 --out benchmarks/results/compression.json
      --data pneumoniamnist.npz --reference resnet50/models/teacher_fp32.tflite
      --settings-chosen "..." --test-looked-at "..."
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _host
import numpy as np

from edgekd import api, builder, metrics, pipeline, statistics, tflite
from edgekd._litert import predict_probs
from edgekd.artifact import Artifact, sha256_file
from edgekd.cache import Cache, default_root
from edgekd.chains import Chain, run_chains
from edgekd.config.benchmark import Benchmark
from edgekd.data import Dataset
from edgekd.errors import OutputError
from edgekd.recipe import Recipe
from edgekd.stages.benchmark import benchmark
from edgekd.timing import NUM_IMAGES

BASELINE = "unpruned"
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    BASELINE: {"prune.method": "none", "distill.train_alone": True},
    "qat": {"prune.method": "none", "distill.train_alone": False, "quantize.method": "qat"},
    "channel": {"prune.method": "channel", "prune.keep_macs": 0.5, "distill.train_alone": False},
    "weight": {
        "prune.method": "weight",
        "prune.final_sparsity": 0.85,
        "prune.training.learning_rate": 0.03,
        "distill.train_alone": False,
    },
}
"""What each variant changes in the recipe; the rest is the same for all."""

LAST_STAGE = "verify"
SEEDS = "0,1,2"
SIZES = ("tflite_bytes", "gzip_bytes")


@dataclass(frozen=True)
class File:
    """A .tflite file, what it weighs, and the probabilities that verify got from it, by split."""

    path: Path
    sizes: Mapping[str, int]
    probs: Mapping[str, Any]

    def right(self, labels: Mapping[str, Any], split: str) -> Any:
        """Whether each image's most probable class is its own."""
        return self.probs[split].argmax(axis=1) == labels[split]


def recipe_of(asked: argparse.Namespace, changes: Mapping[str, Any], seed: int) -> Recipe:
    overrides = {"quantize.variants": ["fp32", "int8"], "teacher.seed": 0, **changes}
    overrides |= api.parse_overrides(tuple(asked.set))
    return api.load_recipe(asked.recipe, data=asked.data, overrides=overrides, seed=seed)


def files_of(artifacts: Mapping[str, Artifact]) -> dict[str, File]:
    """The files that a chain wrote, by id."""
    with np.load(artifacts[LAST_STAGE].path / "scores.npz", allow_pickle=False) as scores:
        return {
            entry["id"]: File(
                artifact.path / entry["file"],
                {name: entry[name] for name in SIZES},
                {split: scores[f"{entry['id']}__{split}"] for split in ("val", "test")},
            )
            for name in builder.MODEL_STAGES
            if (artifact := artifacts.get(name)) is not None
            for entry in artifact.facts["models"]
        }


def reference_of(path: Path, dataset: Dataset) -> File:
    images = {"val": dataset.val.images, "test": dataset.test.images}
    probs = {split: predict_probs(path, pictures, head=dataset.task.head) for split, pictures in images.items()}
    entry = tflite.describe(path, id=path.stem, role="teacher", steps=[], shipped=False)
    return File(path, {name: entry[name] for name in SIZES}, probs)


def timed(files: Mapping[str, File], images: Any, asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Figures of every file, and ratios against the first."""
    config = Benchmark(num_processes=asked.processes, num_runs=200)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: file.path for name, file in files.items()}
        return dict(benchmark(paths, images, config, Path(folder), seed=seed).facts)


def ended(interval: statistics.Interval, scale: float = 1.0) -> dict[str, Any]:
    return {
        "estimate": round(scale * interval.estimate, 3),
        "ci95": [round(scale * end, 3) for end in (interval.low, interval.high)],
    }


def over_seeds(first: Sequence[File], second: Sequence[File], labels: Mapping[str, Any]) -> dict[str, Any]:
    """Top-1 and AUC of each seed, and top-1 of the first minus that of the second, in points: paired, Student's t."""
    found: dict[str, dict[str, Any]] = {}
    for split in ("val", "test"):
        tops = [[float(file.right(labels, split).mean()) for file in files] for files in (first, second)]
        found[split] = {
            "top1": [[round(value, 4) for value in row] for row in tops],
            "auc": [
                [round(metrics.auc(file.probs[split], labels[split]), 4) for file in files] for files in (first, second)
            ],
        }
        found[split]["difference_pp"] = ended(statistics.mean_difference(*tops), 100)
    return found


def run(asked: argparse.Namespace) -> dict[str, Any]:
    cache = Cache(asked.cache_dir or default_root())
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    chains = {
        (name, seed): Chain(f"{name}, seed {seed}", recipe_of(asked, changes, seed), LAST_STAGE)
        for seed in seeds
        for name, changes in VARIANTS.items()
    }

    def made(chain: Chain) -> dict[str, Artifact] | None:
        artifacts, _ = pipeline.artifacts(chain.recipe, cache=cache, until=chain.until, dry=True)
        return artifacts if chain.until in artifacts else None

    # What several chains need is made once, before they are handed out.
    first = chains[BASELINE, seeds[0]]
    shared = [Chain("teacher", first.recipe, "teacher")]
    baselines = [chain for (name, _), chain in chains.items() if name == BASELINE]
    for group in (shared, baselines, list(chains.values())):
        run_chains([chain for chain in group if made(chain) is None], cache.root, jobs=asked.jobs)

    def found(chain: Chain) -> dict[str, Artifact]:
        artifacts = made(chain)
        if artifacts is None:
            raise OutputError(f'"{cache.root}" no longer holds {chain.title}; give the same command again')
        return artifacts

    dataset = Dataset.open(found(first)["data"])
    labels = {"val": np.asarray(dataset.val.labels), "test": np.asarray(dataset.test.labels)}
    teacher = reference_of(asked.reference, dataset)
    files = {key: files_of(found(chain)) for key, chain in chains.items()}
    images = dataset.test.images[:NUM_IMAGES]

    by_seed = []
    for seed in seeds:
        int8 = {name: files[name, seed]["student_int8"] for name in VARIANTS}
        alone = files[BASELINE, seed]["student_alone_fp32"]
        against_unpruned = timed({**int8, "student_alone_fp32": alone}, images, asked, seed)
        against = timed({"reference_fp32": teacher, **int8}, images, asked, seed)
        against_alone = timed({"student_alone_fp32": alone, **int8}, images, asked, seed)
        row: dict[str, Any] = {"seed": seed, "student_alone_fp32": {**alone.sizes}, "variants": {}}
        for name, file in int8.items():
            pairs = {"reference_fp32": teacher, "student_alone_fp32": alone, "unpruned_int8": int8[BASELINE]}
            row["variants"][name] = {
                **file.sizes,
                "p50_ms": against_unpruned["models"][name]["latency"][0]["p50_ms"],
                "bytes_over_unpruned": round(file.sizes["tflite_bytes"] / int8[BASELINE].sizes["tflite_bytes"], 4),
                "gzip_over_unpruned": round(file.sizes["gzip_bytes"] / int8[BASELINE].sizes["gzip_bytes"], 4),
                "times_smaller": {
                    other: round(pair.sizes["tflite_bytes"] / file.sizes["tflite_bytes"], 2)
                    for other, pair in pairs.items()
                },
                "p50_over": {
                    ratio["baseline"]: {"ratio": ratio["ratio"], "ci95": ratio["ci95"]}
                    for facts in (against_unpruned, against, against_alone)
                    for ratio in facts["ratios"]
                    if ratio["model"] == name
                },
                "test_difference_pp": {
                    other: ended(
                        statistics.paired_difference(file.right(labels, "test"), pair.right(labels, "test")), 100
                    )
                    for other, pair in pairs.items()
                    if pair is not file
                },
            }
        row["warnings"] = sorted({text for facts in (against_unpruned, against) for text in facts["warnings"]})
        by_seed.append(row)

    def all_of(name: str, model: str = "student_int8") -> list[File]:
        return [files[name, seed][model] for seed in seeds]

    return {
        "benchmark": "compression",
        "recipe": asked.recipe,
        "variants": {name: dict(changes) for name, changes in VARIANTS.items()},
        "set": asked.set,
        "seeds": seeds,
        "reference": {
            "model": asked.reference_name,
            "sha256": sha256_file(asked.reference),
            **teacher.sizes,
            **{split: round(float(teacher.right(labels, split).mean()), 4) for split in ("val", "test")},
        },
        "against_unpruned_int8": {
            name: over_seeds(all_of(name), all_of(BASELINE), labels) for name in VARIANTS if name != BASELINE
        },
        "int8_against_fp32": {
            name: over_seeds(all_of(name), all_of(name, "student_fp32"), labels) for name in VARIANTS
        },
        "by_seed": by_seed,
        "load_average": _host.load(),
    }


def options() -> argparse.Namespace:
    parser = _host.parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--recipe", default="pneumoniamnist", help="by name or path; default: pneumoniamnist")
    parser.add_argument("--data", required=True, help="its images, by file or name")
    parser.add_argument("--reference", type=Path, required=True, help="a .tflite that takes the same pixels")
    parser.add_argument("--reference-name", default="resnet50", help="what it is; default: resnet50")
    parser.add_argument("--seeds", default=SEEDS, help=f"default: {SEEDS}")
    parser.add_argument("--processes", type=int, default=10, help="fresh processes per model; default: 10")
    _host.add_chain_options(parser)
    return parser.parse_args()


def main() -> None:
    asked = options()
    _host.show_progress()
    _host.report({**run(asked), **_host.words(asked)}, asked.out)


if __name__ == "__main__":
    main()
