"""MedMNIST v2 (Yang et al. 2023, "MedMNIST v2", Scientific Data 10:41): a table of its 2-D sets, and their download.

Facts (addresses, MD5 of the 28-pixel files, labels, counts, licences) as the MedMNIST project publishes them, version
3.0.2 of its table.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import DataError
from edgekd.progress import BarProgress, LineProgress, Task

logger = logging.getLogger("edgekd")

BASE_URL = "https://zenodo.org/records/10519652/files/"
ATTRIBUTION = 'Jiancheng Yang et al., "MedMNIST v2", Scientific Data 10:41 (2023), https://medmnist.com'
ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class MedMnist:
    """One set of the table.

    Attributes:
        md5: of the official ``<name>.npz``.
        task: ``binary``, ``multi-class``, ``multi-label`` or ``ordinal``.
        class_names: in the order of the labels.
        counts: images in train, val and test.
        licence: of the data.
    """

    md5: str
    task: str
    class_names: tuple[str, ...]
    counts: tuple[int, int, int]
    licence: str = "CC BY 4.0"


_CHEST = (
    *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax"),
    *("consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia"),
)
_ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left"),
    *("lung-right", "pancreas", "spleen"),
)
TABLE = {
    "pathmnist": MedMnist(
        "a8b06965200029087d5bd730944a56c1",
        "multi-class",
        (
            *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa"),
            *("cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
        ),
        (89996, 10004, 7180),
    ),
    "chestmnist": MedMnist("02c8a6516a18b556561a56cbdd36c4a8", "multi-label", _CHEST, (78468, 11219, 22433)),
    "dermamnist": MedMnist(
        "0744692d530f8e62ec473284d019b0c7",
        "multi-class",
        (
            *(
                "actinic keratoses and intraepithelial carcinoma",
                "basal cell carcinoma",
                "benign keratosis-like lesions",
            ),
            *("dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions"),
        ),
        (7007, 1003, 2005),
        "CC BY-NC 4.0",
    ),
    "octmnist": MedMnist(
        "c68d92d5b585d8d81f7112f81e2d0842",
        "multi-class",
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        (97477, 10832, 1000),
    ),
    "pneumoniamnist": MedMnist("28209eda62fecd6e6a2d98b1501bb15f", "binary", ("normal", "pneumonia"), (4708, 524, 624)),
    "retinamnist": MedMnist("bd4c0672f1bba3e3a89f0e4e876791e4", "ordinal", ("0", "1", "2", "3", "4"), (1080, 120, 400)),
    "breastmnist": MedMnist(
        "750601b1f35ba3300ea97c75c52ff8f6", "binary", ("malignant", "normal, benign"), (546, 78, 156)
    ),
    "bloodmnist": MedMnist(
        "7053d0359d879ad8a5505303e11de1dc",
        "multi-class",
        (
            *("basophil", "eosinophil", "erythroblast"),
            "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
            *("lymphocyte", "monocyte", "neutrophil", "platelet"),
        ),
        (11959, 1712, 3421),
    ),
    "tissuemnist": MedMnist(
        "ebe78ee8b05294063de985d821c1c34b",
        "multi-class",
        (
            *("Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells"),
            *("Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments"),
            "Thick Ascending Limb",
        ),
        (165466, 23640, 47280),
    ),
    "organamnist": MedMnist("68e3f8846a6bd62f0c9bf841c0d9eacc", "multi-class", _ORGANS, (34561, 6491, 17778)),
    "organcmnist": MedMnist("b9ceb9546e10131b32923c5bbeaea2b1", "multi-class", _ORGANS, (12975, 2392, 8216)),
    "organsmnist": MedMnist("9ab87b696fb54e2a387ebe992d6ed5f1", "multi-class", _ORGANS, (13932, 2452, 8827)),
}


def cache_folder() -> Path:
    """Where downloads are kept: ``data/`` in ``EDGEKD_CACHE_DIR`` or in the platform's cache folder."""
    import platformdirs

    return Path(os.environ.get("EDGEKD_CACHE_DIR") or platformdirs.user_cache_dir("edgekd")) / "data"


def fetch(name: str, folder: Path, base_url: str = BASE_URL) -> Path:
    """Download a set unless it is there, and check its MD5; what broke off is removed.

    Raises:
        DataError: no network, or bytes that are not the official ones. It says which file to put where.
    """
    import pooch
    import requests

    entry = TABLE[name]
    file = f"{name}.npz"
    path = folder / file
    if path.exists() and md5_file(path) == entry.md5:
        return path
    remedy = f'download {base_url}{file} elsewhere and put it at "{path}", or name it with --data PATH'
    if path.exists():
        remedy = (
            f'what lies at "{path}" is another file (MD5), to use it all the same give it with --data; else {remedy}'
        )
    logger.info(f"downloading {file} to {folder}")
    pooch.get_logger().setLevel(logging.WARNING)
    bar = _Bar()
    try:
        _remove_abandoned(folder)
        pooch.retrieve(
            f"{base_url}{file}?download=1",
            known_hash=f"md5:{entry.md5}",
            fname=file,
            path=folder,
            downloader=pooch.HTTPDownloader(progressbar=bar, chunk_size=_Bar.CHUNK, timeout=30),
        )
    except requests.exceptions.RequestException as error:
        status = f" {error.response.status_code}" if error.response is not None else ""
        raise DataError(f'data set "{name}" cannot be downloaded ({type(error).__name__}{status}); {remedy}') from None
    except ValueError:
        raise DataError(
            f'the download of data set "{name}" is damaged (its MD5 is wrong) and was removed; {remedy}'
        ) from None
    except OSError as error:
        raise DataError(
            f'data set "{name}" cannot be kept in "{folder}" ({error.strerror or error}); {remedy}'
        ) from None
    finally:
        bar.close()
    return path


def _remove_abandoned(folder: Path) -> None:
    """Remove what a killed download left; one that still grows belongs to another process."""
    for path in folder.glob("tmp*"):
        if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
            path.unlink(missing_ok=True)


def md5_file(path: Path) -> str:
    """MD5 of a file, in hexadecimal; the digest that MedMNIST publishes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class _Bar:
    """What pooch wants of a progress bar, shown through edgekd's own progress."""

    CHUNK = 65_536
    total = 0

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._task: Task | None = None
        self._done = 0

    def update(self, count: int) -> None:
        """Pooch counts whole chunks, and at the end the total once more; what is shown stops at the total."""
        if self._task is None:
            # A quiet command line has set the level of the logger.
            bar = sys.stderr.isatty() and logger.isEnabledFor(logging.INFO)
            progress = BarProgress() if bar else LineProgress()
            self._task = self._stack.enter_context(progress.task("download", self.total, "bytes"))
        count = min(count, self.total - self._done) if self.total else count
        self._done += count
        self._task.advance(count)

    def reset(self) -> None:
        """Pooch calls this before it fills the bar up; there is nothing to take back."""

    def close(self) -> None:
        self._stack.close()
