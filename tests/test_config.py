"""Settings: unknown keys are refused, flags win over TOML, TOML over the base, the base over defaults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.conftest import ROOT
from w2wpath.config import (
    PAPER,
    STAGES,
    ClassMap,
    ClassRule,
    CleanSettings,
    HeatmapSettings,
    NetSettings,
    TileSettings,
    load,
    load_class_map,
)
from w2wpath.errors import ConfigError

TILE_KEYS = (
    "allow_upsample, anchor, class_map, classes, codec, conflict_share, edge, extra, include, label_share, max_mb, "
    "min_share, mpp, origin, plane, point_radius_um, policy, priority, strict, stride_px, tile_px"
)


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "crc.toml").write_text(text, "utf-8")
        return tmp_path / "crc.toml"

    return write


def message_of(toml: Path | None, **flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(TileSettings, "tile", toml, flags)
    return str(caught.value)


def test_tiles_are_224_px_at_half_a_um_by_default() -> None:
    found = load(TileSettings, "tile", None, {})
    assert (found.tile_px, found.mpp, found.step_px, found.anchor, found.origin) == (224, 0.5, 224, "slide", "auto")
    assert (found.min_share, found.label_share, found.conflict_share) == (0.1, 0.5, 0.25)


def test_a_flag_wins_over_toml_over_base_over_default(toml: Callable[[str], Path]) -> None:
    file = toml("[tile]\ntile_px = 128\nmpp = 1.0\n")
    found = load(TileSettings, "tile", file, {"tile_px": 64, "mpp": None}, {"mpp": 2.0, "stride_px": 32})
    assert (found.tile_px, found.mpp, found.step_px, found.min_share) == (64, 1.0, 32, 0.1)


def test_one_file_serves_every_stage(toml: Callable[[str], Path]) -> None:
    file = toml('[tile]\ntile_px = 64\n[clean]\nfolds = 3\nbackbone = "resnet18"\n[heatmap]\nthreshold = 0.0\n')
    assert load(TileSettings, "tile", file, {}).tile_px == 64
    assert load(CleanSettings, "clean", file, {}).folds == 3
    assert load(HeatmapSettings, "heatmap", file, {}).threshold == 0.0


def test_tiles_stay_on_the_slide_and_doubtful_ones_get_no_label_by_default() -> None:
    found = TileSettings()
    assert (found.edge, found.policy, found.priority) == ("drop", "drop-conflict", None)


def test_a_policy_an_edge_or_a_rank_that_cannot_be_is_shown() -> None:
    assert message_of(None, policy="most") == (
        "tile: policy: input should be 'drop-conflict', 'majority', 'priority' or 'multi'; got 'most'."
    )
    assert message_of(None, edge="cut") == "tile: edge: input should be 'drop', 'pad' or 'shift'; got 'cut'."
    assert message_of(None, priority=("AC", "H", "AC")) == "tile: priority names 'AC' more than once."


def test_a_misspelt_setting_names_file_table_key_and_cure(toml: Callable[[str], Path]) -> None:
    assert message_of(toml("[tile]\ntilepx = 64\n")) == (
        f"crc.toml: [tile] setting must be one of {TILE_KEYS}; got 'tilepx'. Did you mean 'tile_px'?"
    )


def test_a_misspelt_table_is_named(toml: Callable[[str], Path]) -> None:
    known = ", ".join(sorted(STAGES))
    assert message_of(toml("[tiles]\ntile_px = 64\n")) == (
        f"crc.toml: table must be one of {known}; got 'tiles'. Did you mean 'tile'?"
    )


def test_a_value_where_a_table_belongs_is_refused(toml: Callable[[str], Path]) -> None:
    assert message_of(toml("tile = 3\n")) == (
        "crc.toml: 'tile' must be a table; got 3. Write its settings below [tile]."
    )


def test_a_value_out_of_range_is_shown(toml: Callable[[str], Path]) -> None:
    assert message_of(toml("[tile]\ntile_px = 4\n")) == (
        "crc.toml: [tile]: tile_px: input should be greater than or equal to 8; got 4."
    )
    assert message_of(None, min_share=1.5) == "tile: min_share: input should be less than or equal to 1; got 1.5."
    assert message_of(None, mpp=float("inf")) == "tile: mpp: input should be a finite number; got inf."
    assert message_of(None, mpp=1e308) == "tile: mpp: input should be less than 1000; got 1e+308."
    assert message_of(None, anchor="rio") == "tile: anchor: input should be 'slide' or 'roi'; got 'rio'."


def test_a_threshold_is_a_share(toml: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(HeatmapSettings, "heatmap", None, {"threshold": 1.2})
    assert str(caught.value) == "heatmap: threshold must lie between 0 and 1, got 1.2."


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert message_of(tmp_path / "no.toml") == (
        f"{tmp_path / 'no.toml'}: no such file. Name a TOML file that can be read."
    )


def test_a_folder_is_not_a_config_file(tmp_path: Path) -> None:
    assert message_of(tmp_path) == f"{tmp_path}: cannot be read (Is a directory). Name a TOML file that can be read."


def test_broken_toml_says_where(toml: Callable[[str], Path]) -> None:
    file = toml("[tile\n")
    assert message_of(file) == (
        f"{file}: not valid TOML (Expected ']' at the end of a table declaration (at line 1, column 6)). Mend the line."
    )


def test_settings_cannot_be_changed_after_they_were_read() -> None:
    with pytest.raises(ValidationError):
        TileSettings().tile_px = 64  # type: ignore[misc]


def test_the_digest_tells_settings_apart_unless_told_to_look_away() -> None:
    seven, eight = NetSettings(seed=7), NetSettings(seed=8)
    assert seven.digest() == NetSettings(seed=7).digest()
    assert seven.digest() != eight.digest()
    assert seven.digest(without=frozenset({"seed"})) == eight.digest(without=frozenset({"seed"}))


def test_clean_hands_on_the_part_that_builds_networks() -> None:
    net = CleanSettings(folds=3, seed=5, backbone="resnet18").net()
    assert type(net) is NetSettings
    assert (net.seed, net.backbone) == (5, "resnet18")


# presets ------------------------------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("preset", ["recommended", "paper"])
NETS = pytest.mark.parametrize("model", [NetSettings, CleanSettings])


@NETS
def test_the_paper_preset_differs_in_its_table_and_nowhere_else(model: type[NetSettings]) -> None:
    recommended, paper = model().model_dump(), model(preset="paper").model_dump()
    assert recommended["preset"] == "recommended"
    assert {key for key in paper if paper[key] != recommended[key]} == {"preset", *PAPER}
    assert {key: paper[key] for key in PAPER} == PAPER


def test_naming_the_default_preset_changes_nothing() -> None:
    assert NetSettings(preset="recommended") == NetSettings()


@pytest.mark.parametrize("key", sorted(PAPER))
def test_what_is_stated_wins_over_the_preset(key: str) -> None:
    # also where the stated value is the default of the other preset
    stated = getattr(NetSettings(), key)
    found = NetSettings(**{"preset": "paper", key: stated})
    assert getattr(found, key) == stated != PAPER[key]
    assert all(getattr(found, other) == PAPER[other] for other in PAPER if other != key)


def test_a_flag_wins_over_toml_over_the_preset(toml: Callable[[str], Path]) -> None:
    file = toml("[clean]\npreset = 'paper'\nlr = 0.1\ndraws = 100\n")
    found = load(CleanSettings, "clean", file, {"draws": 7, "lr": None})
    assert (found.preset, found.lr, found.draws, found.momentum) == ("paper", 0.1, 7, 0.0)
    assert load(CleanSettings, "clean", file, {"preset": "recommended"}).momentum == NetSettings().momentum


def test_an_unknown_preset_is_refused_in_words() -> None:
    with pytest.raises(ConfigError) as caught:
        load(CleanSettings, "clean", None, {"preset": "papre"})
    assert str(caught.value) == "clean: preset: input should be 'recommended' or 'paper'; got 'papre'."


@BOTH
@NETS
def test_settings_that_were_written_are_read_back_the_same(model: type[NetSettings], preset: str) -> None:
    settings = model(preset=preset, seed=3, draws=9, weights=Path("w.safetensors"))  # type: ignore[arg-type]
    for dumped in (settings.model_dump(), json.loads(json.dumps(settings.model_dump(mode="json")))):
        assert model(**dumped) == settings
        assert model(**dumped).digest() == settings.digest()
        # as the settings of a run of clean are the base of train
        assert load(model, "train", None, {"seed": 4}, base=dumped) == settings.model_copy(update={"seed": 4})


@BOTH
def test_clean_hands_on_its_preset(preset: str) -> None:
    given = CleanSettings(preset=preset, label_weight=0.5)  # type: ignore[arg-type]
    assert given.net().model_dump() == {
        key: value for key, value in given.model_dump().items() if key in NetSettings.model_fields
    }


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"track_every": 5}, "track_every is for tracker 'exact'; the moving average follows every epoch"),
        (
            {"preset": "paper", "track_every": 3},
            "max_epochs must be a multiple of track_every (3)",
        ),
        (
            {"tracker": "exact", "track_every": 50},
            "track_every must be below std_window (40): one measurement has no std",
        ),
        ({"micro_batch": 65}, "micro_batch must not exceed batch_size (64)"),
        ({"micro_batch": 1}, "micro_batch: input should be greater than or equal to 2; got 1"),
        ({"track_every": 0}, "track_every: input should be greater than or equal to 1; got 0"),
        ({"doubt_below": 0.0}, "doubt_below: input should be greater than 0; got 0.0"),
        ({"min_separation": 1.5}, "min_separation: input should be less than or equal to 1; got 1.5"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_in_words(flags: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(CleanSettings, "clean", None, flags)
    assert str(caught.value) == f"clean: {words}."


def test_settings_that_agree_are_accepted() -> None:
    assert NetSettings(tracker="exact", track_every=5).track_every == 5
    assert NetSettings(preset="paper", track_every=5).max_epochs == 200
    assert NetSettings(batch_size=32, micro_batch=32).micro_batch == 32


# class maps ---------------------------------------------------------------------------------------------------------

MAP = """
unlisted = "skip"
unclassified = "exclude"

[classes.AC]
aliases = ["adenocarcinoma", "Tumor"]
colour = [200, 0, 0]

[classes.H]

[starred]
"Region*" = "scope"
"""


def test_a_class_map_is_read_from_a_file_or_a_table_of_the_stage(toml: Callable[[str], Path]) -> None:
    from_file = load_class_map(toml(MAP))
    assert from_file == ClassMap(
        classes={"AC": ClassRule(aliases=("adenocarcinoma", "Tumor"), colour=(200, 0, 0)), "H": ClassRule()},
        unlisted="skip",
        unclassified="exclude",
        starred={"Region*": "scope"},
    )
    nested = toml("[tile.class_map.classes.AC]\naliases = ['Tumor']\n")
    assert load(TileSettings, "tile", nested, {}).class_map.classes["AC"].aliases == ("Tumor",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[class.AC]\n",
            ": setting must be one of class_from, classes, starred, unclassified, unlisted; got 'class'. "
            "Did you mean 'classes'?",
        ),
        ("[classes.AC]\naliasses = []\n", ": classes.AC.aliasses: extra inputs are not permitted; got []."),
        (
            "[classes.AC]\ncolour = [0, 0, 256]\n",
            ": classes.AC.colour.2: input should be less than or equal to 255; got 256.",
        ),
        (
            "unclassified = 'drop'\n",
            ": unclassified: input should be 'skip', 'error', 'exclude' or 'scope'; got 'drop'.",
        ),
        ("[starred]\nRegion = 'scope'\n", ": starred class 'Region' does not end with *."),
        ("[classes.AC]\naliases = ['h']\n[classes.H]\n", ": 'H' means both 'AC' and 'H'."),
    ],
)
def test_a_wrong_class_map_names_file_key_and_cure(toml: Callable[[str], Path], text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_class_map(toml(text))
    assert str(caught.value) == f"crc.toml{words}"


def test_a_class_map_that_is_not_there_names_its_flag(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_class_map(tmp_path / "no.toml")
    assert str(caught.value) == f"{tmp_path / 'no.toml'}: no such file. Name a class map that can be read."


def test_the_class_maps_of_the_project_are_valid() -> None:
    maps = sorted((ROOT / "annotations").glob("*.toml"))
    assert [path.name for path in maps] == ["crc.toml", "qupath.toml"]
    assert all(load_class_map(path).classes for path in maps)
