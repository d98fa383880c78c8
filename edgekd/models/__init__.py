"""The networks: teachers that know, and students that ship.

Every builder returns a flat functional Keras model from RGB pixels (float32, 0..255, shape ``(n, s, s, 3)``) to logits
``(n, K)``. Normalisation is inside the graph, so that there is one input convention everywhere. Layers carry names of
their own, so that a model's digest does not depend on what was built before it.
"""

from edgekd.models.answers import Answers, open_teacher
from edgekd.models.applications import APPLICATIONS, Application
from edgekd.models.given import check_file, check_use
from edgekd.models.kinds import kind_of, runtime_of
from edgekd.models.published import PUBLISHED, check_start
from edgekd.models.students import STUDENTS, build_student
from edgekd.models.taps import channels, layer_pairs, with_features
from edgekd.models.teachers import TEACHERS, build_ensemble, build_teacher, check_size, check_teacher
from edgekd.models.weights import KEYWORDS

__all__ = [
    "Answers",
    "APPLICATIONS",
    "KEYWORDS",
    "PUBLISHED",
    "STUDENTS",
    "TEACHERS",
    "Application",
    "build_ensemble",
    "build_student",
    "build_teacher",
    "channels",
    "check_file",
    "check_size",
    "check_start",
    "check_teacher",
    "check_use",
    "kind_of",
    "layer_pairs",
    "open_teacher",
    "runtime_of",
    "with_features",
]
