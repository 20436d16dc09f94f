"""Settings of networks and of cleaning: presets `recommended` and `paper`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from w2wpath.config.base import Settings
from w2wpath.errors import did_you_mean


def _or_none(value: Any) -> Any:
    return None if value == "none" else value


def _percent(value: Any) -> Any:
    """Read ``2%`` as 0.02; what is no number is refused later."""
    if not isinstance(value, str) or not value.endswith("%"):
        return value
    try:
        return float(value.removesuffix("%")) / 100
    except ValueError:
        return value


OrNone = Annotated[float | None, BeforeValidator(_or_none)]
"""A number, or ``none``, which is the only way to say so in TOML or by a flag."""
Percent = Annotated[float, BeforeValidator(_percent)]
"""A share: 0.02, or ``2%``."""


class NetSettings(Settings):
    """How Wise and Wiped are built and trained, and how tiles are judged. R-numbers are the method's requirements.

    The defaults are preset ``recommended``. Preset ``paper`` changes the defaults in :data:`PAPER` and nothing else;
    what is stated by name wins over the preset.
    """

    preset: Literal["recommended", "paper"] = "recommended"
    backbone: str = "densenet121"
    """Any timm model name (R1, R3), or ``conv5``, five convolutions for tiles of some 28 px."""
    stem: Literal["imagenet", "small"] = "imagenet"
    """``small`` begins with 3 x 3, stride 1, without pooling, for tiles below 64 px (R2)."""
    weights: Path | None = None
    """A safetensors file of pretrained weights to begin with; None draws random ones. Nothing is ever downloaded."""
    low_pass_sigma: float | None = Field(None, gt=0)
    """Standard deviation, in pixels, of a fixed Gaussian of 3 x 3 before the network: the rival of Roy et al. 2018 in
    the study. None puts nothing there."""
    dropout_rate: float = Field(0.3, ge=0, lt=1)
    """Share of activations that Wise drops (R1)."""
    dropout_kind: Literal["element", "channel"] = "element"
    dropout_scope: Literal["all", "no-conv", "head"] = "no-conv"
    """Layers that dropout follows: each convolution, pooling and fully connected layer; all but the convolutions; or
    the last pooling and what comes after it. ``no-conv`` found more of the wrong labels that were planted in crc27 for
    the purpose, and its epochs are shorter."""
    dropout_logits: bool = False
    """Drop logits too: the letter of R1, which puts a floor under u."""
    mask_batch: int = Field(16, ge=1)
    """Tiles that share one dropout mask in a pass; 1 draws a mask for every tile."""
    draws: int = Field(25, ge=1)
    """MC passes of the exact uncertainty (R6)."""
    tracker: Literal["ema", "exact"] = "ema"
    """What the stop rule and the decisions follow: the moving average of the training forwards, which costs nothing,
    or `draws` MC passes after an epoch."""
    track_every: int = Field(1, ge=1)
    """Epochs from one exact measurement to the next. The windows of the stop rule stay as long in epochs."""
    ema_decay: float = Field(0.9, ge=0, lt=1)
    """Decay of the moving average of the training forwards."""
    max_epochs: int = Field(100, ge=1)
    stop_rule: Literal["size", "membership"] = "size"
    """What must be stable: the sizes of the clusters (R10 to R12), or their members (R13)."""
    median_window: int = Field(11, ge=1)
    std_window: int = Field(40, ge=2)
    std_below: float = Field(0.01, gt=0)
    """Stop when the std of the median-filtered delta over `std_window` epochs falls below this (R11, R12). With rule
    ``membership``: when the median share of tiles that changed cluster since the last measurement stays below it."""
    split: Literal["exact", "kmeans++"] = "exact"
    """How scores are cut in two: the global optimum, or scikit-learn's k-means++ with ten starts (R9)."""
    label_weight: float = Field(1.0, ge=0)
    """Weight of the given label's Brier score in the score that decides; 0 is u alone."""
    second_reader: Literal["forest", "none"] = "forest"
    """Who reads the labels beside Wise: a forest on colour and texture that is asked only about tiles it has not
    learned from; the decision follows the mean of both. It found more of the flips and of the foreign tissue that were
    planted in crc27 for the purpose, with fewer other tiles."""
    balanced: bool = True
    """Readings decide as if classes were equally frequent. Else a class with few tiles is doubted for being rare: what
    learned it expects it seldom."""
    doubt_below: OrNone = Field(0.6, gt=0, le=1)
    """A tile of the high cluster is excluded only if the mean probability of its label is below this share of what is
    usual in its class (the median): two-means always cuts, also where nothing is wrong. None excludes the whole
    cluster. It is the smallest value, in tenths, that still found about nine in ten of wrong labels planted in crc27
    for the purpose; every tenth more takes another twentieth of the other tiles (pipelines/crc/planted.py)."""
    out_of_fold_veto: bool = True
    """A tile that networks exclude by its label or their doubt is undecided instead where the network of its own fold,
    which never saw the patient nor that label, names the label too and is sure of it. Image quality has no veto."""
    min_separation: OrNone = Field(None, ge=0, le=1)
    """The network excludes nothing unless the valley between the clusters is at least this deep, 0 to 1 (R20). Blind
    to spurious tiles that form a tail and no group of their own, so `doubt_below` is the guard by default."""
    threshold: Literal["quantile", "centroid"] = "quantile"
    """Above which u an unseen tile is uncertain: the quantile of out-of-fold u that flags `flag_share` of the kept
    tiles, set without any truth; or the centroid of the spurious cluster of the training tiles' u (R18)."""
    flag_share: float = Field(0.05, gt=0, lt=1)
    """Share of the kept tiles that threshold ``quantile`` flags."""
    quality: bool = True
    """Exclude also by image quality: focus, background and colour, which no uncertainty shows."""
    batch_size: int = Field(64, ge=2)
    micro_batch: int | None = Field(None, ge=2)
    """Tiles that go through the network at a time; gradients add up to `batch_size`. None takes the whole batch, and
    halves it when the device's memory does not suffice."""
    lr: float = Field(0.05, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.001, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate over `max_epochs`."""
    augment: Literal["flips", "flips+stain", "mirror", "none"] = "flips+stain"
    """While training: flips and quarter turns; with ``stain`` also a jitter of haematoxylin, eosin and residue, which
    differ from patient to patient: with it, patients that were left out were read better (given labels of crc27).
    ``mirror`` turns left and right alone, for pictures that have an up and a down."""
    standardise: bool = True
    """Divide by the standard deviation of each channel after subtracting its mean; False only subtracts (R26)."""
    wiped_epochs: int = Field(100, ge=1)
    """Epochs of Wiped (R21)."""
    compile: bool = False
    """Compile networks with torch.compile: worth its minutes on a GPU only, for Wiped above all, since each mask of
    Wise breaks the graph."""
    loader_workers: int = Field(0, ge=0)
    """Processes that prepare batches; 0 prepares them in a thread."""
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 where the device computes in it natively, fp32 elsewhere."""

    @model_validator(mode="before")
    @classmethod
    def _begin_with_the_preset(cls, given: Any) -> Any:
        return {**PAPER, **given} if isinstance(given, Mapping) and given.get("preset") == "paper" else given

    @model_validator(mode="after")
    def _the_last_epoch_is_measured(self) -> NetSettings:
        if self.tracker == "ema" and self.track_every != 1:
            raise ValueError("track_every is for tracker 'exact'; the moving average follows every epoch")
        if self.track_every >= self.std_window:
            raise ValueError(f"track_every must be below std_window ({self.std_window}): one measurement has no std")
        if self.max_epochs % self.track_every:
            raise ValueError(f"max_epochs must be a multiple of track_every ({self.track_every})")
        if self.micro_batch is not None and self.micro_batch > self.batch_size:
            raise ValueError(f"micro_batch must not exceed batch_size ({self.batch_size})")
        return self


PAPER: Mapping[str, Any] = {
    "dropout_scope": "all",
    "mask_batch": 1,
    "tracker": "exact",
    "max_epochs": 200,
    "label_weight": 0.0,
    "second_reader": "none",
    "balanced": False,
    "doubt_below": None,
    "out_of_fold_veto": False,
    "threshold": "centroid",
    "quality": False,
    "lr": 0.0001,
    "momentum": 0.0,
    "schedule": "constant",
    "augment": "none",
    "standardise": False,
    "precision": "fp32",
}
"""Where preset ``paper`` differs from ``recommended``: every deviation of ours, by name. The learning rate is that of
the paper's histology (R25); its MNIST has 0.1 with batches of 64, its CIFAR-10 0.01 with 256 (R24). Two readings are
the same in both: no dropout of logits (R1), and the global optimum of two-means, which k-means++ seeks (R9)."""


def checked_changes(changes: Mapping[str, float]) -> Mapping[str, float]:
    """Return settings of networks by name, once it is sure that they are such.

    Raises
    ------
    ValueError
        It says which is none, or out of range.
    """
    known = tuple(NetSettings.model_fields)
    for name in changes:
        if name not in known:
            hint = did_you_mean(name, known).strip()
            raise ValueError(f"{name!r} is no setting of a network{f' ({hint})' if hint else ''}")
    try:
        NetSettings(**dict(changes))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return changes


class CleanSettings(NetSettings):
    """Settings of ``w2wpath clean``."""

    folds: int = Field(5, ge=2)
    controls: Percent = Field(0.0, ge=0, le=0.2)
    """Share of each fold's training tiles that are replaced by planted controls: known flips, blurs and background made
    from the user's own tiles. Their recall is reported; they never reach Wiped, nor the counts."""

    @model_validator(mode="after")
    def _every_tile_keeps_a_vote(self) -> CleanSettings:
        if self.controls > 0 and self.folds < 3:
            raise ValueError("controls need 3 folds: with 2, no network would judge the tiles that they replace")
        return self

    def net(self) -> NetSettings:
        """Return the part that builds and trains networks."""
        return NetSettings(**{key: getattr(self, key) for key in NetSettings.model_fields})
