"""What help says is the default is the default, and can be read."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from w2wpath.cli.main import app
from w2wpath.config import CleanSettings, HeatmapSettings, NetSettings, Settings, TileSettings

SETTINGS: dict[str, type[Settings]] = {
    "tile": TileSettings,
    "clean": CleanSettings,
    "train": NetSettings,
    "heatmap": HeatmapSettings,
}
FIELD = {"stride": "stride_px"}
"""Options whose setting has another name."""
ABSENT = {
    "stride_px": "tile-px",
    "threshold": "the model's own",
    "draws": "as the model's threshold",
    "point_radius_um": "leave them out",
    "priority": "as the classes",
}
"""What help says where the default is None."""
NO_SETTING = {"store", "out", "model", "patient", "run_name", "workers", "cohort", "slide_mpp", "config", "as_json"}
"""Options that say where or whose, not how."""
# what to tile and how to go about it
NO_SETTING |= {"class_map", "cores", "patient_from", "scheduler", "shard", "overwrite", "dry_run", "no_previews"}
# which folds, and what to do with them
NO_SETTING |= {"fold", "collect", "force"}
# whose probabilities calibrate a model, and what may be old
NO_SETTING |= {"calibrate", "allow_stale"}
# what belongs to one slide, as the columns of a cohort do
NO_SETTING |= {"rois"}
# says no to a setting that is on
NO_SETTING |= {"no_stain_check"}
COMMANDS: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
OPTIONS = [
    (command, option)
    for command in SETTINGS
    for option in COMMANDS[command].params
    if option.param_type_name == "option" and option.name != "help"
]


def said_default(text: str) -> str | None:
    found = re.search(r"\[default: ([^\]]+)\]", text)
    return found.group(1) if found else None


@pytest.mark.parametrize(("command", "option"), [pytest.param(c, o, id=f"{c} {o.name}") for c, o in OPTIONS])
def test_the_default_in_the_help_is_the_setting(command: str, option: Any) -> None:
    fields = SETTINGS[command].model_fields
    name = FIELD.get(option.name, option.name)
    if name not in fields or name in NO_SETTING:
        # origin of a heatmap is no setting: it belongs to the slide, as the cohort's column does
        assert name in NO_SETTING or (command, name) == ("heatmap", "origin")
        return
    default = fields[name].default
    if isinstance(default, tuple):
        default = ",".join(map(str, default)) or None
    if default is None and name not in ABSENT and command != "train":
        assert said_default(option.help) is None
    elif command == "train":
        assert said_default(option.help) == "as in the run of clean"
        assert option.default is None
    elif isinstance(default, bool) and option.secondary_opts:
        assert said_default(option.help) == str(default)
        assert option.default is None
    elif isinstance(default, bool):
        assert (option.is_flag, default) == (True, False)
    else:
        assert said_default(option.help) == (ABSENT[name] if default is None else str(default))
        assert option.default is None  # else it would win over the TOML


def test_every_setting_of_clean_has_a_flag() -> None:
    flags = {option.name for command, option in OPTIONS if command == "clean"}
    assert set(CleanSettings.model_fields) - flags == set()


@pytest.mark.parametrize("command", SETTINGS)
def test_every_default_is_shown(command: str) -> None:
    shown = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"}).invoke(app, [command, "--help"]).output
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", shown).split())
    helps = [option.help for owner, option in OPTIONS if owner == command and said_default(option.help)]
    assert len(helps) >= 5
    assert [text for text in helps if text not in words] == []
