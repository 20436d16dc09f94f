"""Settings of annotations and tiles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from w2wpath.config.base import Settings

Byte = Annotated[int, Field(ge=0, le=255)]
Index = Annotated[int, Field(ge=0)]


class ClassRule(Settings):
    """One class of a class map: the names that mean it too (letter case does not matter), and its colour."""

    aliases: tuple[str, ...] = ()
    colour: tuple[Byte, Byte, Byte] | None = None


class ClassMap(Settings):
    """What the classes of annotation files mean. The default takes every class that is found."""

    classes: dict[str, ClassRule] = Field(default_factory=dict)
    """The classes to train on; empty takes each class found under its own name."""
    unlisted: Literal["error", "skip"] = "error"
    """What to do with a class that `classes`, where there are any, do not hold."""
    starred: dict[str, Literal["exclude", "scope", "skip"]] = Field(default_factory=dict)
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
