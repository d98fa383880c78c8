"""The page in a browser: nothing is complained of, nothing is loaded, and it fits a phone and a desk.

Chromium is asked for (``apt-get install chromium``); without it these tests are skipped.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from reports import document_by_hand, with_evidence

from edgekd import attribution
from edgekd.page import render, render_plain
from edgekd.tasks import TASKS

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (apt-get install chromium)")

WIDTHS = (390, 1280)
# Widths of the page's frame and of what stands in it, and what in it reaches past the frame without a box that scrolls.
MEASURE = """
<!doctype html><title>measuring</title><body style="margin:0">
%s
<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, width = frame.contentWindow.innerWidth;
    const wide = [...page.body.querySelectorAll("*")].filter((element) =>
      element.getBoundingClientRect().right > width + 1 && !element.closest(".scroll, pre, .skip, svg"));
    const heights = [...page.querySelectorAll("section")].map((section) => section.getBoundingClientRect().height);
    return {
      width, scroll: page.documentElement.scrollWidth, wide: wide.map((element) => element.outerHTML.slice(0, 80)),
      sections: heights.length, empty: heights.filter((height) => height < 40).length,
      ground: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
      resources: frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name),
      images: [...page.images].map((image) => image.complete && image.naturalWidth > 0),
    };
  });
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>
"""


def run(tmp_path: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri()),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def whole_report(names: tuple[str, ...] = ("normal", "pneumonia")) -> str:
    document = with_evidence(document_by_hand(), names=names)
    document["dataset"] |= {"class_names": list(names), "task": "binary" if len(names) == 2 else "multi-class"}
    # Long names and addresses are what breaks a narrow page.
    document["dataset"]["source"] = "https://example.org/" + 12 * "a_very_long_address/"
    document["warnings"].append(f"a warning with {'a_very_long_word' * 8}")
    change = {"model": "student_fp32", "before": "teacher_fp32", "estimate": -0.0125, "ci95": [-0.03125, 0.00625]}
    changes = [change, {**change, "model": "student_int8", "before": "student_fp32"}]
    document["attribution"] = attribution.steps(document["models"], changes, [], TASKS["binary"])
    start = {"removed": 0, "fraction": 0.0, "loss": 0.25, "top1": 0.96, "auc": 0.98}
    layer = {"layer": "block_1_expand", "size": 100, "mean_rise": 0.5, "taken": 0.25}
    layers = [{**layer, "points": [start, {**start, "removed": 50, "fraction": 0.5, "loss": 1.25}]}]
    baseline = {"loss": 0.25, "top1": 0.96, "auc": 0.98}
    document["sensitivity"] = {"kind": "weights", "num_images": 78, "baseline": baseline, "layers": layers}
    return render(document, "report.html.j2")


def measured(tmp_path: Path, source: str, *options: str, complaints: bool = False) -> list[dict[str, Any]]:
    frames = "".join(
        f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(source)}"></iframe>'
        for width in WIDTHS
    )
    page = tmp_path / "measure.html"
    page.write_text(MEASURE % frames, encoding="utf-8")
    done = run(tmp_path, page, "--dump-dom", "--window-size=1400,1000", *options)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert found is not None, done.stderr[-2000:]
    assert complaints or [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    rows: list[dict[str, Any]] = json.loads(html.unescape(found[1]))
    return rows


@pytest.mark.parametrize("names", [("normal", "pneumonia"), tuple(f"a class named {index}" for index in range(20))])
def test_it_fits_a_phone_and_a_desk(names: tuple[str, ...], tmp_path: Path) -> None:
    rows = measured(tmp_path, whole_report(names))
    assert [row["width"] for row in rows] == list(WIDTHS)
    for row in rows:
        assert row["wide"] == []
        assert row["scroll"] <= row["width"]
        assert (row["sections"], row["empty"]) == (17, 0)
        assert row["images"]
        assert all(row["images"])


def targets_page() -> str:
    run = {
        **{"folder": "board", "model": "student_int8_io", "takes": "int8 in, int8 out", "candidate": "macs_75"},
        **{"changes": {"prune.method": "channel", "prune.keep_macs": 0.75}, "num_tried": 2, "all_held": True},
        **{"limits": [{"id": "max_different_answers", "limit": 0, "measured": 0, "held": True, "of": "target"}]},
        **{"reasons": ["a_very_long_word" * 8], "accuracy_name": "top-1", "accuracy": 0.875, "n": 624, "auc": 0.9375},
        **{"accuracy_ci95": [0.84, 0.9], "tflite_bytes": 614_400, "p50_ms": None, "p50_ci95_ms": None},
        **{"arena_measured": True, "arena_bytes": 65_536, "further": [{"what": "9 cycles", "how": "an estimate"}]},
        "how": dict.fromkeys(("accuracy", "bytes", "p50", "arena"), "measured: " + "a_very_long_word" * 8),
    }
    rows = [
        {"name": "board", "description": "d", "problem": "", "verdict": "fits", "run": run},
        {"name": "a-long-name" * 6, "description": "d", "problem": "p", "verdict": "could not be built", "run": None},
    ]
    nothing: dict[str, Any] = {"runs": [], "paired": [], "recipe_differences": []}
    return render_plain({"recipe": "quickstart", "seed": 0, "targets": rows, **nothing}, "targets.html.j2")


def test_the_page_of_targets_fits_too_and_loads_nothing(tmp_path: Path) -> None:
    rows = measured(tmp_path, targets_page())
    assert [row["width"] for row in rows] == list(WIDTHS)
    for row in rows:
        assert (row["wide"], row["resources"], row["sections"], row["empty"]) == ([], [], 3, 0)
        assert row["scroll"] <= row["width"]


def test_it_follows_light_and_dark(tmp_path: Path) -> None:
    grounds = []
    for number, scheme in enumerate((1, 0)):  # Chromium's numbers of light and of dark
        folder = tmp_path / str(number)
        folder.mkdir()
        rows = measured(folder, whole_report(), f"--blink-settings=preferredColorScheme={scheme}")
        grounds.append({row["ground"] for row in rows})
    assert grounds == [{"rgb(255, 255, 255)"}, {"rgb(20, 23, 26)"}]


def test_nothing_is_asked_of_a_network_and_nothing_complained_of(tmp_path: Path) -> None:
    source = whole_report()
    assert [row["resources"] for row in measured(tmp_path, source)] == [[], []]
    # The browser asks for things of its own accord; what the page names is not among them.
    page, log = tmp_path / "report.html", tmp_path / "net.json"
    page.write_text(source, encoding="utf-8")
    done = run(tmp_path, page, "--dump-dom", f"--log-net-log={log}", "--net-log-capture-mode=Everything")
    assert "<footer" in done.stdout
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    asked = log.read_text(encoding="utf-8")
    assert "report.html" in asked
    assert "example.org" in source
    assert "example.org" not in asked


def test_the_measure_finds_what_it_looks_for(tmp_path: Path) -> None:
    intruder = '<main><img src="https://example.invalid/a.png"><div style="width:2000px">wide</div>'
    source = whole_report().replace("<main>", intruder)
    page = tmp_path / "report.html"
    page.write_text(source, encoding="utf-8")
    done = run(tmp_path, page, "--dump-dom")
    # The page's own policy forbids it.
    assert any("CONSOLE" in line and "Content Security Policy" in line for line in done.stderr.splitlines())
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    for row in measured(tmp_path, open_page, complaints=True):
        assert row["resources"] == ["https://example.invalid/a.png"]
        assert row["wide"][0].startswith('<div style="width:2000px">')
        assert row["scroll"] > row["width"]
        assert not all(row["images"])
