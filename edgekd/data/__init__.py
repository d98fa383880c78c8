"""Data sets: where the images come from, and the arrays that every stage reads.

A loader in ``DATASETS`` gives a :class:`Source`; :func:`prepare` preprocesses its pictures once into an artifact, and
:class:`Dataset` reads that back, memory-mapped.
"""

from edgekd.data.dataset import SPLITS, Dataset, Split
from edgekd.data.prepare import Probe, prepare, probe
from edgekd.data.sources import DATASETS, load_source

__all__ = ["DATASETS", "SPLITS", "Dataset", "Probe", "Split", "load_source", "prepare", "probe"]
