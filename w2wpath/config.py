"""Settings of every stage: pydantic models that refuse unknown keys; flag over TOML over default."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from w2wpath.errors import ConfigError, did_you_mean


class Settings(BaseModel):
    """Frozen settings of one stage; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self, *, without: frozenset[str] = frozenset()) -> str:
        """Return a sha256 over the settings, `without` those that cannot change a result."""
        table = {key: value for key, value in self.model_dump(mode="json").items() if key not in without}
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


Byte = Annotated[int, Field(ge=0, le=255)]
Index = Annotated[int, Field(ge=0)]


class ClassRule(Settings):
    """One class of a class map: the names that mean it too (letter case does not matter), and its colour."""

    aliases: tuple[str, ...] = ()
    colour: tuple[Byte, Byte, Byte] | None = None


class ClassMap(Settings):
    """What the classes of annotation files mean. The default takes every class that is found."""

    classes: dict[str, ClassRule] = {}
    """The classes to train on; empty takes each class found under its own name."""
    unlisted: Literal["error", "skip"] = "error"
    """What to do with a class that `classes`, where there are any, do not hold."""
    starred: dict[str, Literal["exclude", "scope", "skip"]] = {}
    """Classes whose name ends with ``*``: cut out of every class, the only area that counts, or left out and counted.
    Without a rule, ``Ignore*`` is cut out and others are left out."""
    unclassified: Literal["skip", "error", "exclude", "scope"] = "skip"
    class_from: Literal["classification", "name"] = "classification"
    """Where the class stands: QuPath's classification, or the object's name."""

    @model_validator(mode="after")
    def _each_name_means_one_class(self) -> ClassMap:
        meant: dict[str, str] = {}
        for name, rule in self.classes.items():
            for word in (name, *rule.aliases):
                other = meant.setdefault(word.casefold(), name)
                if other != name:
                    raise ValueError(f"{word!r} means both {other!r} and {name!r}")
        for name in self.starred:
            if not name.endswith("*"):
                raise ValueError(f"starred class {name!r} does not end with *")
        return self


class RoiSettings(Settings):
    """How annotation files are read."""

    class_map: ClassMap = ClassMap()
    strict: bool = False
    """Any repair is an error."""
    include: tuple[Literal["annotation", "detection", "cell", "tile"], ...] = ("annotation",)
    """Kinds of QuPath objects whose areas count."""
    plane: tuple[Index, Index] = (0, 0)
    """The z and t of the objects that count."""
    point_radius_um: float | None = Field(None, gt=0, le=10_000)
    """Points and lines become areas by this radius; None leaves them out."""
    max_mb: int = Field(512, ge=1, le=100_000)
    """Most megabytes of an annotation file after decompression."""


class TileSettings(RoiSettings):
    """Settings of ``w2wpath tile``. Shares are parts of a tile's area, 0 to 1."""

    tile_px: int = Field(224, ge=8, le=4096)
    mpp: float = Field(0.5, gt=0, lt=1000)
    stride_px: int | None = Field(None, ge=1)
    """Grid step in output pixels; None means tile_px (no overlap)."""
    anchor: Literal["slide", "roi"] = "slide"
    """Where the grid starts: the slide's (0, 0), or the corner of the ROIs' common bounding box."""
    edge: Literal["drop", "pad", "shift"] = "drop"
    """A tile that reaches over the slide's edge is left out, padded with white, or moved inward to end at the edge."""
    origin: Literal["auto", "qupath", "slide", "qupath-rot90", "qupath-rot180", "qupath-rot270"] = "auto"
    """Frame of the annotations; `auto` finds it, or stops where it is not certain."""
    min_share: float = Field(0.1, gt=0, le=1)
    """A candidate whose classes cover less than this of it is not stored."""
    policy: Literal["drop-conflict", "majority", "priority", "multi"] = "drop-conflict"
    """How shares become a label. A class claims a tile by `label_share`. ``drop-conflict``: the one that claims, unless
    another covers `conflict_share`. ``majority``: the one that covers most, if it claims; equal shares are a conflict.
    ``priority``: the first of `priority` that claims. ``multi``: all that claim count; the label is the largest."""
    label_share: float = Field(0.5, gt=0, le=1)
    """A class claims a tile when it covers at least this share of it."""
    conflict_share: float = Field(0.25, gt=0, le=1)
    """Policy ``drop-conflict`` gives no label to a tile of which another class covers at least this share."""
    priority: tuple[str, ...] | None = None
    """Every class, first first, for policy ``priority``; None takes the order of the classes."""
    classes: tuple[str, ...] | None = None
    """The only classes to accept; None accepts every class found."""
    allow_upsample: bool = False
    codec: Literal["zstd", "jpeg", "source"] = "zstd"
    """How pixels are kept: lossless, JPEG of quality 90, or the scanner's own JPEG where a tile is a source tile."""
    extra: tuple[Literal["tissue", "sharpness"], ...] = ()
    """Columns beside the usual ones: the share of a tile that is tissue, and the variance of its Laplacian."""

    @model_validator(mode="after")
    def _each_class_has_one_rank(self) -> TileSettings:
        ranked = self.priority or ()
        if double := [name for name in dict.fromkeys(ranked) if ranked.count(name) > 1]:
            raise ValueError(f"priority names {double[0]!r} more than once")
        if self.codec == "source" and "sharpness" in self.extra:
            raise ValueError("sharpness is measured on pixels, which codec source never decodes")
        return self

    @property
    def step_px(self) -> int:
        """Grid step in output pixels."""
        return self.tile_px if self.stride_px is None else self.stride_px


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
    doubt_below: float | None = Field(0.7, gt=0, le=1)
    """A tile of the high cluster is excluded only if the mean probability of its label is below this: two-means always
    cuts, also where nothing is wrong. None excludes the whole cluster. The largest value, in tenths, at which unaltered
    MNIST of seed 0 loses less than 1 % (pipelines/core tells how it came about)."""
    min_separation: float | None = Field(None, ge=0, le=1)
    """The network excludes nothing unless the valley between the clusters is at least this deep, 0 to 1 (R20). Blind
    to spurious tiles that form a tail and no group of their own, so `doubt_below` is the guard by default."""
    quality: bool = True
    """Exclude also by image quality: focus and background, which no uncertainty shows."""
    batch_size: int = Field(64, ge=2)
    micro_batch: int | None = Field(None, ge=2)
    """Tiles that go through the network at a time; gradients add up to `batch_size`. None takes the whole batch, and
    halves it when the device's memory does not suffice."""
    lr: float = Field(0.05, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.001, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate over `max_epochs`."""
    augment: Literal["flips", "flips+stain", "none"] = "flips"
    """While training: flips and quarter turns; with ``stain`` also a jitter of haematoxylin, eosin and residue."""
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
    "doubt_below": None,
    "quality": False,
    "lr": 0.0001,
    "momentum": 0.0,
    "schedule": "constant",
    "augment": "none",
    "standardise": False,
    "precision": "fp32",
}
"""Where preset ``paper`` differs from ``recommended``: every deviation of ours, by name. The learning rate is that of
the paper's histology (R25); its MNIST has 0.1 with batches of 64, its CIFAR-10 0.01 with 256 (R24)."""


class CleanSettings(NetSettings):
    """Settings of ``w2wpath clean``."""

    folds: int = Field(5, ge=2)

    def net(self) -> NetSettings:
        """Return the part that builds and trains networks."""
        return NetSettings(**{key: getattr(self, key) for key in NetSettings.model_fields})


class HeatmapSettings(Settings):
    """Settings of ``w2wpath heatmap``."""

    draws: int | None = Field(None, ge=1)
    """MC passes; None takes as many as the model's threshold was taken with."""
    classes: tuple[str, ...] | None = None
    """The classes that the model must have; None takes any."""
    tissue_share: float = Field(0.1, ge=0, le=1)
    """A tile is analysed when at least this share of it is tissue."""
    threshold: float | None = None
    """Uncertainty above which a tile is masked; None takes the model's own."""
    quality: bool = True
    """Mask also by image quality, where the model has a reference for it."""
    opacity: float = Field(0.5, gt=0, le=1)
    batch_size: int = Field(64, ge=1)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    @model_validator(mode="after")
    def _threshold_is_a_gini_value(self) -> HeatmapSettings:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold:g}")
        return self


STAGES: Mapping[str, type[Settings]] = {"tile": TileSettings, "clean": CleanSettings, "heatmap": HeatmapSettings}

S = TypeVar("S", bound=Settings)


def load(
    model: type[S], stage: str, toml: Path | None, flags: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> S:
    """Build a stage's settings: flags that are not None, over the TOML's table `stage`, over `base`, over defaults.

    Raises
    ------
    ConfigError
        The file is missing or not TOML, a table or key is unknown, or a value is out of range.
    """
    table: dict[str, Any] = dict(base or {})
    if toml is not None:
        table |= _read_table(toml, stage, model)
    given = {key: value for key, value in flags.items() if value is not None}
    return _build(model, table | given, f"{toml.name}: [{stage}]" if toml else stage)


def load_class_map(toml: Path) -> ClassMap:
    """Read a class map: a TOML file with the keys of :class:`ClassMap` at its top.

    Raises
    ------
    ConfigError
        The file is missing or not TOML, a key is unknown, or a value is out of range.
    """
    table = _read_toml(toml, "--class-map")
    _refuse_unknown(table, ClassMap, f"{toml.name}:")
    return _build(ClassMap, table, toml.name)


def _read_toml(toml: Path, flag: str) -> dict[str, Any]:
    try:
        return tomllib.loads(toml.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{toml}: no such file. Give {flag} an existing TOML file.") from None
    except OSError as error:
        raise ConfigError(f"{toml}: cannot be read ({error.strerror}). Give {flag} a readable TOML file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{toml}: not valid TOML ({error}). Mend the line, or leave {flag} out.") from None


def _refuse_unknown(table: Mapping[str, Any], model: type[Settings], where: str) -> None:
    known = sorted(model.model_fields)
    for key in table:
        if key not in model.model_fields:
            hint = did_you_mean(key, known)
            raise ConfigError(f"{where} setting must be one of {', '.join(known)}; got {key!r}.{hint}")


def _read_table(toml: Path, stage: str, model: type[Settings]) -> dict[str, Any]:
    whole = _read_toml(toml, "--config")
    stages = sorted(STAGES)
    for name in whole:
        if name not in STAGES:
            hint = did_you_mean(name, stages)
            raise ConfigError(f"{toml.name}: table must be one of {', '.join(stages)}; got {name!r}.{hint}")
    found = whole.get(stage, {})
    if not isinstance(found, dict):
        raise ConfigError(f"{toml.name}: {stage!r} must be a table; got {found!r}. Write its settings below [{stage}].")
    _refuse_unknown(found, model, f"{toml.name}: [{stage}]")
    return found


def _build(model: type[S], table: Mapping[str, Any], where: str) -> S:
    try:
        return model(**table)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        got = f"; got {first['input']!r}" if name else ""
        why = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}{': ' + name if name else ''}: {why[0].lower()}{why[1:]}{got}.") from None
