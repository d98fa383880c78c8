"""How a network's weights are fitted, and the views of the images that it learns from."""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.options import option


@dataclass(frozen=True)
class Views:
    """Random views of a training image; a view is a pure function of (seed, sample, view number)."""

    horizontal_flip: bool = option(False, "mirror left and right in half of the views")
    vertical_flip: bool = option(False, "mirror top and bottom in half of the views")
    max_shift: float = option(0.0, "largest shift along each axis, as a fraction of the side", minimum=0, maximum=0.5)
    max_rotation: float = option(0.0, "largest rotation, in degrees", minimum=0, maximum=180)
    max_zoom: float = option(0.0, "largest zoom in or out, as a fraction", minimum=0, maximum=0.5)
    max_brightness: float = option(0.0, "largest change of brightness, as a fraction of 255", minimum=0, maximum=0.5)
    max_contrast: float = option(0.0, "largest change of contrast, as a fraction", minimum=0, maximum=0.9)
    mixup_alpha: float = option(
        0.0,
        "mix each view with another image's, pixels and labels alike, in shares drawn from Beta(alpha, alpha); 0: not",
        minimum=0,
        maximum=100,
    )
    cutmix_alpha: float = option(
        0.0,
        "paste a box of another image's view into each, whose area is drawn from Beta(alpha, alpha); 0: not. With "
        "both, each view gets one of the two",
        minimum=0,
        maximum=100,
    )


@dataclass(frozen=True)
class Training:
    """How a network's weights are fitted."""

    epochs: int = option(0, "passes over the training images; 0: chosen from the data", minimum=0, maximum=10_000)
    batch_size: int = option(128, "images per step", minimum=1, maximum=65_536)
    optimizer: str = option("sgd", "sgd (Nesterov momentum 0.9) or adamw", choices=("sgd", "adamw"))
    learning_rate: float = option(0.03, "learning rate at its peak", above=0, maximum=10)
    schedule: str = option(
        "cosine",
        "course of the learning rate after warm-up: cosine (to 0), step (times step_factor at step_epochs), constant",
        choices=("cosine", "step", "constant"),
    )
    step_epochs: tuple[int, ...] = option((), "epochs at which schedule = step multiplies", minimum=1)
    step_factor: float = option(0.1, "factor of schedule = step", above=0, maximum=1)
    warmup_epochs: float = option(1.0, "epochs over which the learning rate rises from 0", minimum=0, maximum=10_000)
    weight_decay: float = option(
        5e-4, "decoupled weight decay of kernels, per unit of learning rate", minimum=0, maximum=1
    )
    class_weights: str = option(
        "none",
        "weights of the loss on the labels: none, or balanced (every class counts alike, however many its images)",
        choices=("none", "balanced"),
    )
    focal_gamma: float = option(
        0.0,
        "focusing of the loss on the labels: (1 - p) ** gamma weighs what is already right less",
        minimum=0,
        maximum=10,
    )
    label_smoothing: float = option(
        0.0, "mass moved from the true class to the uniform distribution", minimum=0, below=1
    )
    keep: str = option(
        "best",
        "the epoch whose weights are kept: best (highest AUC on val) or last; a val split of a hundred images chooses "
        "among many epochs by chance",
        choices=("best", "last"),
    )
