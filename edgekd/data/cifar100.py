"""CIFAR-100 (Krizhevsky 2009): the field's yardstick for distillation. Not medical."""

from __future__ import annotations

import hashlib
import sys
from contextlib import redirect_stdout

import numpy as np

from edgekd.config.data import Data
from edgekd.data.source import Source, SourceSplit
from edgekd.errors import DataError

CLASS_NAMES = (
    *("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle"),
    *("bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle"),
    *("chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur"),
    *("dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard"),
    *("lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle"),
    *("mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear"),
    *("pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon"),
    *("ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail"),
    *("snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone"),
    *("television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale"),
    *("willow_tree", "wolf", "woman", "worm"),
)
VAL_PER_CLASS = 50


def load_cifar100(config: Data) -> Source:
    """Load through ``tf_keras.datasets``; 50 training images of each class become val.

    Raises:
        DataError: it cannot be downloaded.
    """
    from edgekd._keras import tf_keras

    try:
        with redirect_stdout(sys.stderr):  # Keras shows its download there; stdout is for results
            (images, labels), (test_images, test_labels) = tf_keras.datasets.cifar100.load_data(label_mode="fine")
    except Exception as error:  # urllib, tarfile and Keras each fail in their own way
        raise DataError(
            "data set cifar100 cannot be downloaded; put cifar-100-python.tar.gz into ~/.keras/datasets/ "
            f"({(str(error) or type(error).__name__).splitlines()[0]})"
        ) from error
    labels, test_labels = labels.reshape(-1).astype(np.int64), test_labels.reshape(-1).astype(np.int64)
    generator = np.random.default_rng(config.split_seed)
    is_val = np.zeros(len(labels), bool)
    for label in range(len(CLASS_NAMES)):
        is_val[generator.permutation(np.flatnonzero(labels == label))[:VAL_PER_CLASS]] = True
    digest = hashlib.sha256()
    for array in (images, labels, test_images, test_labels):
        digest.update(np.ascontiguousarray(array).tobytes())
    return Source(
        "cifar100",
        CLASS_NAMES,
        {
            "train": SourceSplit(images[~is_val], labels[~is_val]),
            "val": SourceSplit(images[is_val], labels[is_val]),
            "test": SourceSplit(test_images, test_labels),
        },
        digest.hexdigest(),
        "no licence stated by the authors",
        "CIFAR-100, https://www.cs.toronto.edu/~kriz/cifar.html",
        'Alex Krizhevsky, "Learning multiple layers of features from tiny images" (2009)',
        public=True,
        warnings=("CIFAR-100 is not medical: it serves to compare with published distillation results",),
    )
