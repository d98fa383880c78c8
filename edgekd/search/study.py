"""The study: where trials of any number of processes and machines meet. An Optuna storage, a file by default."""

from __future__ import annotations

import functools
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from edgekd.artifact import digest_json
from edgekd.config.search import ACCURACIES, POLICY_GRADIENT
from edgekd.errors import MissingRequirementError, UserError
from edgekd.limits import shortfall
from edgekd.options import to_table
from edgekd.recipe import Recipe
from edgekd.search import space

AS_WRITTEN = "as_written"
FINGERPRINT = "recipe"
HOST, PROCESS, CREATED = "host", "pid", "process_created"
PROBLEM, MEASURED, CHANGES, LIMITS = "problem", "measured", "changes", "limits"
OUT_OF_TIME = "stopped: out of time"
DIED = "its process ended before the trial did"


def optuna() -> Any:
    """The engine. Raises MissingRequirementError where it is not installed."""
    try:
        import optuna as engine
    except ImportError:
        raise MissingRequirementError('edgekd search needs Optuna: pip install "edgekd[search]"') from None
    engine.logging.set_verbosity(engine.logging.ERROR)
    return engine


def fingerprint(recipe_: Recipe) -> str:
    """Digest of all that makes two trials comparable; the sampler may change between two calls."""
    table = to_table(recipe_)
    table["search"] = {key: table["search"][key] for key in ("objectives", "space")}
    return digest_json(table)


def open_storage(where: str) -> Any:
    """Open a storage: a file that processes and machines on a shared disk append to, or any Optuna storage URL.

    Raises:
        UserError: it cannot be reached.
    """
    engine = optuna()
    try:
        with _without_warnings():
            if "://" not in where:
                path = Path(where)
                path.parent.mkdir(parents=True, exist_ok=True)
                backend = engine.storages.journal.JournalFileBackend(str(path))
                return engine.storages.JournalStorage(backend)
            return engine.storages.get_storage(where)
    except Exception as error:  # each kind of storage raises its own
        raise UserError(_unreachable(where, error)) from None


def open_study(recipe_: Recipe, where: str, *, create: bool, seed: int = 0) -> Any:
    """Open the study of a recipe, with its sampler and its rule of early stopping.

    Args:
        recipe_: validated, with a space.
        where: a file, or a storage URL.
        create: make it where it is not there.
        seed: of the sampler.

    Raises:
        UserError: the storage cannot be reached; it holds a study of another recipe, or none at all.
    """
    engine, storage = optuna(), open_storage(where)
    directions = ["maximize" if name in ACCURACIES else "minimize" for name in recipe_.search.objectives]
    try:
        with _without_warnings():
            if create:
                study = engine.create_study(
                    storage=storage, study_name=recipe_.name, directions=directions, load_if_exists=True
                )
            else:
                study = engine.load_study(storage=storage, study_name=recipe_.name)
            known = study.user_attrs.get(FINGERPRINT)
            if known is None:
                study.set_user_attr(FINGERPRINT, fingerprint(recipe_))
    except KeyError:
        raise UserError(f'"{where}" holds no study "{recipe_.name}"; start one without --resume') from None
    except Exception as error:  # each kind of storage raises its own
        raise UserError(_unreachable(where, error)) from None
    if known not in (None, fingerprint(recipe_)):
        raise UserError(
            f'"{where}" holds a study of another recipe, or of other settings, under the name "{recipe_.name}": their '
            "trials cannot be compared. Name another --out or --storage, or undo what was changed"
        )
    with _without_warnings():
        study.sampler = _sampler(engine, recipe_, seed)
        study.pruner = _pruner(engine, recipe_)
    return study


def trials(study: Any, *states: str) -> list[Any]:
    """Trials in the given states (``"COMPLETE"``, ``"RUNNING"``, ...), in their order; all without any."""
    return [trial for trial in study.get_trials(deepcopy=False) if not states or trial.state.name in states]


def sign(trial: Any) -> None:
    """Note whose trial it is, so that it can be told from one whose process has died."""
    process = psutil.Process()
    trial.set_user_attr(HOST, socket.gethostname())
    trial.set_user_attr(PROCESS, process.pid)
    trial.set_user_attr(CREATED, process.create_time())


def give_up_dead(study: Any, reason: str = DIED) -> int:
    """End the trials of this host whose processes are gone; returns how many. Other hosts see to theirs."""
    ended = 0
    for trial in trials(study, "RUNNING"):
        if trial.user_attrs.get(HOST) == socket.gethostname() and not _lives(trial.user_attrs):
            study._storage.set_trial_user_attr(trial._trial_id, PROBLEM, reason)
            study.tell(trial.number, state=optuna().trial.TrialState.FAIL)
            ended += 1
    return ended


def reward_of(trial: Any, accuracy: str) -> float | None:
    """What a trial has earned; None where it tells nothing, as it runs, was killed, or its time was up.

    ===========================  ==================================================================
    keeps the budget             the accuracy on val, in [0, 1]
    does not                     that, less the shortfall: that of each limit as a share of it, at most 1 in all
    cannot be made               -1
    was stopped early            the last AUC on val: of a student that is behind
    ===========================  ==================================================================
    """
    state, attributes = trial.state.name, trial.user_attrs
    if cannot_be_made(trial):
        return -1.0
    if state == "COMPLETE":
        return _earned(attributes.get(MEASURED), attributes.get(LIMITS, ()), accuracy)
    if state == "PRUNED" and trial.intermediate_values:
        return float(trial.intermediate_values[max(trial.intermediate_values)])
    return None


def cannot_be_made(trial: Any) -> bool:
    """Whether the draw made no model; one whose process died, or whose time was up, may."""
    return trial.user_attrs.get(PROBLEM) not in (None, DIED, OUT_OF_TIME)


def feasible(trial: Any) -> tuple[float]:
    """A constraint as Optuna has it: above 0 where the draw cannot be made."""
    return (float(cannot_be_made(trial)),)


def _earned(measured: Mapping[str, Any] | None, limits: Sequence[Mapping[str, Any]], accuracy: str) -> float | None:
    if measured is None:
        return None
    missed = sum(shortfall(row) for row in limits if not row["held"])
    return float(measured[accuracy]) - min(1.0, missed)


def _lives(attributes: dict[str, Any]) -> bool:
    try:
        return bool(abs(psutil.Process(attributes[PROCESS]).create_time() - attributes[CREATED]) < 1.0)
    except psutil.Error:
        return False


def _sampler(engine: Any, recipe_: Recipe, seed: int) -> Any:
    search, samplers = recipe_.search, engine.samplers
    if search.controller == POLICY_GRADIENT:
        from edgekd.search.policy_sampler import PolicySampler

        accuracy = next(name for name in search.objectives if name in ACCURACIES)
        return PolicySampler(functools.partial(reward_of, accuracy=accuracy), seed)
    if search.sampler == "tpe":
        return samplers.TPESampler(
            seed=seed, n_startup_trials=search.num_startup_trials, constant_liar=True, constraints_func=feasible
        )
    if search.sampler == "nsga2":
        return samplers.NSGAIISampler(
            seed=seed, population_size=max(2, search.num_startup_trials), constraints_func=feasible
        )
    if search.sampler == "grid":
        # Its seed orders the grid, which all processes have to see in the same order.
        return samplers.GridSampler(space.grid(search.space), seed=0)
    return samplers.RandomSampler(seed=seed)


def _pruner(engine: Any, recipe_: Recipe) -> Any:
    search = recipe_.search
    if search.early_stopping == "median":
        return engine.pruners.MedianPruner(n_startup_trials=search.num_startup_trials // 2 + 1, n_warmup_steps=2)
    if search.early_stopping == "hyperband":
        epochs = recipe_.distill.training.epochs
        return engine.pruners.HyperbandPruner(min_resource=1, max_resource=epochs or "auto")
    return engine.pruners.NopPruner()


def _unreachable(where: str, error: Exception) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f'the storage "{where}" cannot be used: {reason}. Nothing is lost; name a file or a storage URL (--storage)'


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Optuna says of some of its parts that they are experimental; we chose them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
