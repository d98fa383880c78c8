"""The statistics against R: DeLong against pROC, the exact tests and Holm's adjustment against R's own."""

from __future__ import annotations

import functools
import shutil
import subprocess

import numpy as np
import pytest

from edgekd import statistics
from edgekd.verification.subgroups import by_subgroup


@functools.cache
def r_problem() -> str | None:
    """Why R cannot be asked; None where it can."""
    if shutil.which("Rscript") is None:
        return "Rscript is not there: apt-get install r-cran-proc"
    done = subprocess.run(["Rscript", "-e", "library(pROC)"], capture_output=True, check=False)
    return None if done.returncode == 0 else "R has no pROC: apt-get install r-cran-proc"


@pytest.fixture(autouse=True)
def needs_r() -> None:
    if reason := r_problem():
        pytest.skip(reason)


def ask_r(code: str) -> list[float]:
    """Numbers that a piece of R gives, at full precision."""
    script = f"suppressMessages(library(pROC)); answer <- {{ {code} }}; cat(format(answer, digits=15))"
    done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def vector(values: np.ndarray) -> str:
    return f"c({','.join(map(str, values.tolist()))})"


ROC_TEST = """
found <- roc.test(a, b, method = "delong", paired = TRUE);
c(auc(a) - auc(b), sqrt(var(a) + var(b) - 2 * cov(a, b)), found$p.value)
"""


def test_delong_on_the_published_patients() -> None:
    """aSAH, the data of pROC's paper (Robin et al. 2011): s100b against wfns has Z = -2.209 and p = 0.02718."""
    columns = ask_r("data(aSAH); c(as.numeric(aSAH$outcome) - 1, aSAH$s100b, as.numeric(aSAH$wfns))")
    outcome, s100b, wfns = np.array(columns).reshape(3, -1)
    found = statistics.delong_difference(s100b, wfns, outcome.astype(int))
    error = (found.high - found.low) / 2 / statistics.Z95
    assert found.estimate == pytest.approx(0.7313686 - 0.8236789, abs=1e-6)
    assert found.estimate / error == pytest.approx(-2.209, abs=5e-4)
    assert statistics.normal_p(found) == pytest.approx(0.02718, abs=5e-6)


@pytest.mark.parametrize(("seed", "decimals"), [(0, 1), (1, 6), (2, 0)])
def test_delong_is_procs(seed: int, decimals: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.arange(90) % 3 % 2
    latent = labels + generator.normal(size=90)
    first, second = (np.round(latent + generator.normal(0, noise, 90), decimals) for noise in (0.5, 0.9))
    curves = "; ".join(
        f'{name} <- roc({vector(labels)}, {vector(scores)}, direction = "<", quiet = TRUE)'
        for name, scores in (("a", first), ("b", second))
    )
    difference, error, p = ask_r(f"{curves}; {ROC_TEST}")
    found = statistics.delong_difference(first, second, labels)
    assert found.estimate == pytest.approx(difference)
    assert (found.high - found.low) / 2 == pytest.approx(1.959963984540054 * error)
    assert statistics.normal_p(found) == pytest.approx(p)


def test_one_auc_against_a_constant_has_procs_interval() -> None:
    """How confidence tells strangers: DeLong's interval of one AUC."""
    generator = np.random.default_rng(5)
    labels = np.arange(60) % 2
    scores = np.round(labels + generator.normal(size=60), 1)
    code = f'ci.auc(roc({vector(labels)}, {vector(scores)}, direction = "<", quiet = TRUE), method = "delong")'
    found = statistics.delong_difference(scores, np.zeros(60), labels)
    assert [0.5 + found.low, 0.5 + found.estimate, 0.5 + found.high] == pytest.approx(ask_r(f"as.numeric({code})"))


def test_exact_tests_and_holm_are_rs_own() -> None:
    p_values = [0.2, 0.011, 0.0004, 0.03, 0.03, 0.9, 0.012]
    assert statistics.holm(p_values) == pytest.approx(ask_r(f'p.adjust({vector(np.array(p_values))}, "holm")'))
    for gains, losses in ((3, 9), (0, 6), (40, 25)):
        first = np.array([True] * gains + [False] * losses)
        assert statistics.mcnemar_p(first, ~first) == pytest.approx(
            ask_r(f"binom.test({gains}, {gains + losses})$p.value")[0]
        )
    for successes, count in ((81, 263), (0, 20), (56, 57)):
        ends = ask_r(f"prop.test({successes}, {count}, correct = FALSE)$conf.int")
        assert statistics.wilson_interval(successes, count) == pytest.approx(tuple(ends), abs=1e-9)


def test_fishers_test_of_a_subgroup_is_rs() -> None:
    values = np.array(["a"] * 30 + ["b"] * 50)
    right = np.array([True] * 20 + [False] * 10 + [True] * 45 + [False] * 5)
    rows, _ = by_subgroup(None, right, {"site": values})
    p = ask_r("fisher.test(matrix(c(20, 10, 45, 5), 2))$p.value")[0]
    assert rows[0]["p_others_holm"] == pytest.approx(min(1.0, 2 * p), rel=1e-6)
