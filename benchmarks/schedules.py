"""Do learned schedules win? Policy gradient, TPE, random search, the fixed recipe and ``meta`` at equal budget.

Three arms search ratios of channels for each group of layers, temperature and weight of the labels. Two keep the recipe
as it is, ``meta`` with ``distill.schedule = "meta"``, and train it from other seeds. Each tries as many chains (or
works as many minutes) from each seed, and its score is the best AUC on val among the chains within the budget: half the
bytes of the INT8 student before channels go, of the recipe as written. So all arms choose among equally many, and all
scores are as flattered by it; test is not looked at. Arms are compared in pairs over the seeds, by Student's t. By
minutes the two fixed arms pay for the teacher's answers to the views of each of their seeds.

Every arm and seed has a study, and a cache that starts as that of the recipe as written, so that none lives off
another's work. A call that was broken off goes on where it was.

    python benchmarks/schedules.py recipe.toml --data pneumoniamnist.npz --trials 20 --seeds 0,1,2 --jobs 2
      --set num_threads=1 --work schedules-work --out benchmarks/results/schedules.json --settings-chosen "..."
      --test-looked-at "..."

The recipe removes channels (``prune.method = "channel"``).
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _arms
import _host

from edgekd import api, channel_choice, channels, pipeline, preflight, statistics
from edgekd.cache import Cache
from edgekd.claims import shipped_of
from edgekd.pruning_report import UNPRUNED
from edgekd.recipe import Recipe
from edgekd.search import space

SCORE = "auc"
SHARE_OF_BYTES = 0.5
RATIO = {"low": 0.0, "high": 0.75, "step": 0.125}
LOSS = {
    "distill.temperature": {"low": 1.0, "high": 8.0, "log": True},
    "distill.hard_loss_weight": {"low": 0.1, "high": 0.9, "step": 0.1},
}
SEEDS = {"seed": {"low": 0, "high": 1_000_000}}
SEARCHED: Mapping[str, Mapping[str, str]] = {
    "policy_gradient": {"controller": "policy_gradient", "sampler": "random"},
    "tpe": {"controller": "sampler", "sampler": "tpe"},
    "random": {"controller": "sampler", "sampler": "random"},
}
SCHEDULES: Mapping[str, str] = {"fixed": "fixed", "meta": "meta"}
ARMS = (*SEARCHED, *SCHEDULES)


def recipe_of(arm: str, base: Recipe, max_bytes: int) -> Recipe:
    """What an arm searches: from the recipe as written, with its seed and that of its teacher set."""
    common = {"objectives": [SCORE], "early_stopping": "none"}
    budget = {"max_tflite_bytes": max_bytes}
    if arm in SCHEDULES:
        schedule = {"schedule": SCHEDULES[arm]}
        asked = {**common, "controller": "sampler", "sampler": "random", "space": SEEDS}
        return _arms.changed(base, search=asked, budget=budget, distill=schedule)
    asked = {**common, **SEARCHED[arm], "space": {**ratios_of(base), **LOSS}}
    return _arms.changed(base, search=asked, budget=budget, prune={"keep_macs": 1.0})


def ratios_of(base: Recipe) -> dict[str, dict[str, float]]:
    """A dimension for each group of layers that can lose channels."""
    multiple = base.prune.channel_multiple
    structure = channel_choice.follow(preflight.untrained(base), base.prune.protected_layers)
    free = [group.name for group in structure.prunable if len(channels.counts(group, multiple, multiple)) > 1]
    return {f"{space.RATIOS}{name}": dict(RATIO) for name in free}


def as_written(base: Recipe, cache: Cache) -> dict[str, int]:
    """Build the recipe as written up to its files; bytes of the INT8 student before channels go, and as shipped."""
    made, _ = pipeline.artifacts(space.changed(base, {}), cache=cache, until="quantize")
    before = next(row for row in made["quantize.distilled"].facts["models"] if row["id"] == UNPRUNED)
    shipped = shipped_of([made["quantize"]])
    return {"unpruned_bytes": int(before["tflite_bytes"]), "tflite_bytes": int(shipped["tflite_bytes"])}


def own_cache(source: Path, place: Path) -> Cache:
    """A cache that begins with what another holds: its finished entries never change, so that links will do."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f"{place.name}.{uuid.uuid4().hex}")
        shutil.copytree(source, temporary, copy_function=os.link, ignore=shutil.ignore_patterns("work"))
        temporary.replace(place)
    return Cache(place)


def summary(found: Mapping[str, Any], count: int | None = None) -> dict[str, Any]:
    """What an arm came to from one seed; without a score where nothing kept the budget.

    With ``count``, by its first so many trials: a study that was continued is no better off than one that was not.
    """
    trials = sorted(found["trials"], key=lambda row: row["number"])[:count]
    complete = [row for row in trials if row["measured"]]
    held = [row for row in complete if row["held"]]
    best = max(held, key=lambda row: row["measured"][SCORE], default=None)
    return {
        "num_trials": len(trials),
        "num_complete": len(complete),
        "num_held": len(held),
        "seconds": round(found["seconds"], 1),
        "score": best and best["measured"][SCORE],
        "best": best
        and {
            "changes": best["changes"],
            **{name: best["measured"][name] for name in (SCORE, "accuracy", "tflite_bytes", "p50_ms")},
        },
    }


def verdicts(scores: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, Any]]:
    """Each arm against each other, paired over the seeds that both have a score from.

    Returns:
        ``{arm: {other: {"difference", "ci95", "n", "verdict"}}}``; the verdict is ``won``, ``lost`` or ``not shown``,
        by whether the interval of the mean difference is above 0, below it, or neither.
    """
    return {
        arm: {other: _against(own, theirs) for other, theirs in scores.items() if other != arm}
        for arm, own in scores.items()
    }


def _against(own: Mapping[str, float | None], theirs: Mapping[str, float | None]) -> dict[str, Any]:
    pairs = [
        (first, second) for seed in own if (first := own[seed]) is not None and (second := theirs.get(seed)) is not None
    ]
    if len(pairs) < 2:
        return {"difference": None, "ci95": None, "n": len(pairs), "verdict": "not shown"}
    gain = statistics.mean_difference([first for first, _ in pairs], [second for _, second in pairs])
    verdict = {"shown": "won", "refuted": "lost", "not shown": "not shown"}[statistics.gain_verdict(gain)]
    return {"difference": gain.estimate, "ci95": [gain.low, gain.high], "n": len(pairs), "verdict": verdict}


def sentences(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """The verdicts in words."""
    lines = []
    for arm, others in found.items():
        for other, row in others.items():
            if row["difference"] is None:
                lines.append(f"{arm} against {other}: not shown, {row['n']} seeds with a score from both")
                continue
            low, high = row["ci95"]
            lines.append(
                f"{arm} against {other}: {row['verdict']}, {row['difference']:+.4f} ({low:+.4f} to {high:+.4f}) AUC on "
                f"val over {row['n']} seeds"
            )
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Search every arm from every seed, compare, print JSON."""
    parser = _host.parser(__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data", required=True)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--trials", type=int, help="of an arm and seed; 20 where --minutes is not given")
    parser.add_argument("--minutes", type=float, help="of an arm and seed")
    parser.add_argument("--work", type=Path, default=Path("schedules-work"), help="folder of the studies and caches")
    _host.add_chain_options(parser)
    asked = parser.parse_args(argv)
    names, seeds = asked.arms.split(","), [int(seed) for seed in asked.seeds.split(",")]
    if unknown := [name for name in names if name not in ARMS]:
        parser.error(f"--arms: unknown {', '.join(unknown)}; known: {', '.join(ARMS)}")
    trials = asked.trials or (None if asked.minutes else 20)
    _host.show_progress()
    base = api.load_recipe(asked.recipe, data=asked.data, overrides=api.parse_overrides(tuple(asked.set)))
    if base.prune.method != "channel":
        parser.error(f'prune.method = "{base.prune.method}": set it to "channel", --set prune.method=channel')
    caches = asked.cache_dir or asked.work / "caches"
    arms: dict[str, dict[str, Any]] = {name: {} for name in names}
    written: dict[str, Any] = {}
    for seed in seeds:
        seeded = _arms.changed(base, seed=seed, teacher={"seed": seed})
        source = caches / f"as-written-{seed}"
        written[str(seed)] = as_written(seeded, Cache(source))
        max_bytes = int(SHARE_OF_BYTES * written[str(seed)]["unpruned_bytes"])
        for name in names:
            found = _arms.searched(
                recipe_of(name, seeded, max_bytes),
                asked.work / f"{name}-{seed}",
                own_cache(source, caches / f"{name}-{seed}"),
                seed=seed,
                jobs=asked.jobs,
                minutes=asked.minutes,
                trials=trials,
            )
            arms[name][str(seed)] = summary(found, trials)
    compared = verdicts({name: {seed: row["score"] for seed, row in rows.items()} for name, rows in arms.items()})
    budget = {
        "max_share_of_unpruned_bytes": SHARE_OF_BYTES,
        "trials": trials,
        "minutes": asked.minutes,
        "jobs": asked.jobs,
    }
    result = {"benchmark": "schedules", "recipe": asked.recipe, "set": asked.set, "budget_of_an_arm_and_seed": budget}
    figures = {"score": f"{SCORE} on val", "as_written": written, "arms": arms}
    conclusion = {"against": compared, "in_words": sentences(compared)}
    _host.report({**result, **figures, **conclusion, **_host.words(asked)}, asked.out)


if __name__ == "__main__":
    main()
