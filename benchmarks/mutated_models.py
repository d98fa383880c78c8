"""Damage model files at random, and count what ``inspect`` and ``verify`` make of them. Prints JSON.

    python benchmarks/mutated_models.py BUNDLE MODEL.tflite... --out benchmarks/results/mutated_models.json

Each MODEL is damaged ``count`` times and described; the model of BUNDLE is damaged as often and checked against the
manifest's digest. Anything but a description, or an error that names the file, ends the script with a traceback.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import _host

from edgekd import inspect
from edgekd.errors import ModelError
from edgekd.manifest import MODEL_FILE
from edgekd.runtime import file_faults, read_manifest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from flatbuffer_models import mutations


def describe_all(content: bytes, count: int, seed: int, folder: Path) -> dict[str, int]:
    """How many damaged copies were described, and how many refused."""
    path, refused = folder / "model.tflite", 0
    for damaged in mutations(content, count, seed):
        path.write_bytes(damaged)
        try:
            inspect.describe(path)
        except ModelError:
            refused += 1
    return {"count": count, "described": count - refused, "refused": refused}


def check_all(bundle: Path, count: int, seed: int) -> dict[str, int]:
    """How many damaged copies of the bundle's model were named by their digest."""
    manifest, path = read_manifest(bundle), bundle / MODEL_FILE
    named = 0
    for damaged in mutations(path.read_bytes(), count, seed):
        path.write_bytes(damaged)
        named += MODEL_FILE in file_faults(bundle, manifest)
    return {"count": count, "refused_by_digest": named, "accepted": count - named}


def main() -> None:
    """Run and print."""
    parser = _host.parser(__doc__)
    parser.add_argument("bundle", type=Path, help="folder of a bundle; a copy is damaged")
    parser.add_argument("models", nargs="+", type=Path, help=".tflite files")
    parser.add_argument("--count", type=int, default=10_000, help="damaged copies of each")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    given = parser.parse_args()
    inspected = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in given.models:
            inspected[model.name] = describe_all(model.read_bytes(), given.count, given.seed, folder)
        verified = check_all(Path(shutil.copytree(given.bundle, folder / "bundle")), given.count, given.seed)
    figures = {"benchmark": "mutated_models", "seed": given.seed, "inspect": inspected, "verify": verified}
    _host.report(figures, given.out)


if __name__ == "__main__":
    main()
