"""Knowledge distillation into a student."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekd.config.blocks import Blocks
from edgekd.config.training import Training, Views
from edgekd.errors import RecipeError
from edgekd.options import option

META = "meta"
STORED = ("stored", "self")


@dataclass(frozen=True)
class Distill:
    """Knowledge distillation into a student.

    loss = w * cross_entropy(labels, student) + (1 - w) * sum of weight * loss, with w = hard_loss_weight. The loss
    ``kd`` is T**2 * KL(softmax(teacher / T) || softmax(student / T)) with T = temperature (Hinton et al. 2015).
    """

    student: str = option(
        "mobilenet_v2",
        "architecture by name: mobilenet_v2, mobilenet_v1, mobilenet_v3_small (minimalistic), efficientnet_lite0, "
        "resnet8, ds_cnn, blocks (as the table blocks says), or one that another package registers",
    )
    width_multiplier: float = option(
        0.35, "width of every layer against the published architecture", above=0, maximum=2
    )
    weights: str = option(
        "none",
        "where the student starts: none, imagenet (for the widths that Keras publishes of mobilenet_v1, mobilenet_v2 "
        "and mobilenet_v3_small; downloads), or the path of a weights file of the backbone",
    )
    blocks: Blocks = field(default_factory=Blocks)
    mode: str = option(
        "stored",
        "where the teacher's answers come from: stored (once per view, before the student is trained), live (in every "
        "step), mutual (in every step, and the teacher goes on learning from the student), self (the teacher is the "
        "student trained alone)",
        choices=("stored", "live", "mutual", "self"),
    )
    loss: Mapping[str, float] = field(
        default_factory=lambda: {"kd": 1.0},
        metadata={"doc": "losses by name, with their weights; a name alone counts 1", "minimum": 0, "name_alone": True},
    )
    dkd_target_weight: float = option(1.0, "alpha of the loss dkd: weight of the true class", minimum=0, maximum=1000)
    dkd_nontarget_weight: float = option(8.0, "beta of the loss dkd: weight of the others", minimum=0, maximum=1000)
    crd_negatives: int = option(
        4096,
        "other images that the loss crd tells each image from, in every step; at most all training images",
        minimum=1,
        maximum=1_000_000,
    )
    layer_pairs: Mapping[str, str] = field(
        default_factory=dict,
        metadata={"doc": "student layer and teacher layer whose features are compared; empty: those of equal stride"},
    )
    temperature: float = option(2.0, "softens both distributions", above=0, maximum=100)
    temperature_end: float | None = option(
        None, "temperature at the end of the training, reached linearly; not set: it stays", above=0, maximum=100
    )
    hard_loss_weight: float = option(
        0.5, "share of the loss on the labels; 1 trains the student without the teacher", minimum=0, maximum=1
    )
    hard_loss_weight_end: float | None = option(
        None, "that share at the end of the training, reached linearly; not set: it stays", minimum=0, maximum=1
    )
    schedule: str = option(
        "fixed",
        "fixed: temperature and hard_loss_weight as given, up to their ends where these are set; meta (experimental): "
        "they start as given and follow the student's loss on training images that are held out, one step of training "
        "ahead; with stored answers only",
        choices=("fixed", META),
    )
    meta_fraction: float = option(
        0.1, "meta: share of the training images that is held out; patients stay whole", above=0, maximum=0.5
    )
    meta_frequency: int = option(10, "meta: steps of training for each step of the schedule", minimum=1)
    meta_learning_rate: float = option(
        0.05, "meta: learning rate (Adam) of the logarithms of temperature and weight", above=0, maximum=1
    )
    num_views: int = option(8, "views of each image for which the teacher's logits are stored", minimum=1, maximum=1024)
    train_alone: bool = option(
        False, "train the same student for as many steps without the teacher too, for comparison"
    )
    finetune_epochs: int = option(
        0, "epochs on the labels alone at the end, kept where val improves", minimum=0, maximum=10_000
    )
    finetune_learning_rate: float = option(0.001, "learning rate of those epochs", above=0, maximum=10)
    training: Training = field(default_factory=Training)
    views: Views = field(default_factory=Views)

    @property
    def uses_teacher(self) -> bool:
        """Whether the teacher has any share of the loss, at any time."""
        return self.hard_loss_weight < 1.0 or self.at_end().hard_loss_weight < 1.0

    def at_end(self) -> Distill:
        """The same with the temperature and the weight that its schedules end at."""
        return dataclasses.replace(
            self,
            temperature=self.temperature if self.temperature_end is None else self.temperature_end,
            hard_loss_weight=self.hard_loss_weight if self.hard_loss_weight_end is None else self.hard_loss_weight_end,
            temperature_end=None,
            hard_loss_weight_end=None,
        )


def check_distill(distill: Distill) -> None:
    """Raise RecipeError where a schedule that is learned contradicts what else is asked for."""
    if distill.schedule != META:
        return
    asked = f'distill.schedule = "{META}"'
    if distill.mode not in STORED:
        raise RecipeError(
            f'{asked} works on stored answers, not with distill.mode = "{distill.mode}"; set distill.mode = "stored"'
        )
    for name in ("temperature_end", "hard_loss_weight_end"):
        if getattr(distill, name) is not None:
            raise RecipeError(f"distill.{name} = {getattr(distill, name)}: {asked} finds the end itself; leave it out")
    if not 0 < distill.hard_loss_weight < 1:
        raise RecipeError(
            f"distill.hard_loss_weight = {distill.hard_loss_weight:g}: {asked} starts from it; between 0 and 1, so "
            "that labels and teacher both have a share"
        )
    for name in ("mixup_alpha", "cutmix_alpha"):
        if getattr(distill.views, name):
            raise RecipeError(
                f"distill.views.{name} = {getattr(distill.views, name):g} would mix images that {asked} holds out into "
                "those that are learned from; set it to 0"
            )
