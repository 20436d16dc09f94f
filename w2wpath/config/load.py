"""Build settings: flag over TOML over default; a misspelt key is an error."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from w2wpath.config.base import Settings
from w2wpath.config.bench import BenchSettings
from w2wpath.config.heatmap import HeatmapSettings
from w2wpath.config.nets import CleanSettings
from w2wpath.config.study import StudySettings
from w2wpath.config.tiling import ClassMap, TileSettings
from w2wpath.errors import ConfigError, did_you_mean

STAGES: Mapping[str, type[Settings]] = {
    "tile": TileSettings,
    "clean": CleanSettings,
    "heatmap": HeatmapSettings,
    "study": StudySettings,
    "bench": BenchSettings,
}

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
    table = _read_toml(toml, "a class map")
    _refuse_unknown(table, ClassMap, f"{toml.name}:")
    return _build(ClassMap, table, toml.name)


def _read_toml(toml: Path, what: str) -> dict[str, Any]:
    cure = f"Name {what} that can be read."
    try:
        return tomllib.loads(toml.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{toml}: no such file. {cure}") from None
    except OSError as error:
        raise ConfigError(f"{toml}: cannot be read ({error.strerror}). {cure}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{toml}: not valid TOML ({error}). Mend the line.") from None


def _refuse_unknown(table: Mapping[str, Any], model: type[Settings], where: str) -> None:
    known = sorted(model.model_fields)
    for key in table:
        if key not in model.model_fields:
            hint = did_you_mean(key, known)
            raise ConfigError(f"{where} setting must be one of {', '.join(known)}; got {key!r}.{hint}")


def _read_table(toml: Path, stage: str, model: type[Settings]) -> dict[str, Any]:
    whole = _read_toml(toml, "a TOML file")
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
