"""Settings of every stage: pydantic models that refuse unknown keys; flag over TOML over default."""

from w2wpath.config.base import Settings
from w2wpath.config.bench import BenchSettings
from w2wpath.config.heatmap import HeatmapSettings
from w2wpath.config.load import STAGES, load, load_class_map
from w2wpath.config.nets import PAPER, CleanSettings, NetSettings
from w2wpath.config.study import StudySettings
from w2wpath.config.tiling import ClassMap, ClassRule, RoiSettings, TileSettings

__all__ = [
    "PAPER",
    "STAGES",
    "BenchSettings",
    "ClassMap",
    "ClassRule",
    "CleanSettings",
    "HeatmapSettings",
    "NetSettings",
    "RoiSettings",
    "Settings",
    "StudySettings",
    "TileSettings",
    "load",
    "load_class_map",
]
