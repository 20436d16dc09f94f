"""The files of a heatmap: they appear together, agree with each other, and a run without room changes nothing."""

from __future__ import annotations

import csv
import gzip
import html
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from shapely import box, unary_union
from shapely.geometry import mapping, shape

from tests.conftest import file_bytes, run_python
from tests.heatmaps.made import CLASS_OF, CLASSES, GLASS, PX, SEEN, U_OF, ColourReader, save_slide, state_of
from tests.w2wnet.conftest import Heard
from w2wpath.config import HeatmapSettings
from w2wpath.errors import AnnotationError, ConfigError, ModelError, SlideError
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, STATES, UNCERTAIN
from w2wpath.heatmaps.run import COLOUR_MAP, ENDINGS, Heatmap, heatmap
from w2wpath.heatmaps.store import read_maps
from w2wpath.qupath import write
from w2wpath.w2wnet.domain import DomainReference

ALL = sorted([*(f"a.{ending}" for ending in ENDINGS), COLOUR_MAP])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Heatmap:
    """A heatmap of the made slide; its files must not be changed."""
    folder = tmp_path_factory.mktemp("heatmap")
    return heatmap(save_slide(folder / "a.svs"), ColourReader(), folder / "out")


def named(made: Heatmap, ending: str) -> Path:
    (found,) = (path for path in made.files if path.name.endswith(ending))
    return found


def test_all_files_are_made_and_nothing_is_left_over(made: Heatmap) -> None:
    out = made.files[0].parent
    assert [path.name for path in made.files] == [f"a.{ending}" for ending in ENDINGS]
    assert sorted(path.name for path in out.iterdir()) == ALL


def test_the_table_has_every_tile_with_the_numbers_of_the_maps(made: Heatmap) -> None:
    rows = list(csv.DictReader(io.StringIO(named(made, "tiles.csv").read_text("utf-8"))))
    says = ["state", "reason", "class", "P(Stroma)", "P(Tumor)", "u", "epistemic", "domain"]
    assert list(rows[0]) == ["x0", "y0", "side0", *says]
    assert len(rows) == SEEN.size
    for row, seen, state in zip(rows, SEEN.ravel(), state_of(SEEN.ravel()), strict=True):
        assert (row["side0"], row["state"]) == (str(PX), STATES[state])
        if seen == GLASS:
            assert [row[key] for key in ("class", "P(Stroma)", "P(Tumor)", "u", "epistemic")] == [""] * 5
        else:
            assert row["class"] == CLASSES[CLASS_OF[seen]]
            assert (row["u"], row["epistemic"]) == (f"{U_OF[seen]:.4f}", f"{U_OF[seen] / 2:.4f}")
            assert row[f"P({row['class']})"] == "0.7500"
    assert [(int(row["x0"]), int(row["y0"])) for row in rows] == [
        (int(x), int(y)) for x, y in zip(made.maps.x0, made.maps.y0, strict=True)
    ]


def test_the_summary_counts_what_the_maps_hold(made: Heatmap) -> None:
    said = json.loads(named(made, "summary.json").read_text("utf-8"))
    state, seen = state_of(SEEN.ravel()), SEEN.ravel()
    area = (PX * 0.5 / 1000) ** 2
    counts = {code: int((state == code).sum()) for code in (NOT_ANALYSED, CONFIDENT, UNCERTAIN)}
    assert said.pop("provenance")["command"] == "heatmap"
    assert said == made.summary
    assert said == {
        "slide": "a.svs",
        "tiles": {
            "not analysed": counts[NOT_ANALYSED],
            "confident": counts[CONFIDENT],
            "uncertain": counts[UNCERTAIN],
        },
        "uncertain_because": {"uncertain": counts[UNCERTAIN], **dict.fromkeys(REASONS[2:], 0)},
        "uncertain_share": counts[UNCERTAIN] / (counts[CONFIDENT] + counts[UNCERTAIN]),
        "confident_area_mm2": {
            name: round(int(((state == CONFIDENT) & (CLASS_OF[seen] == index)).sum()) * area, 6)
            for index, name in enumerate(CLASSES)
        },
        "unread": {"tiles": 0, "because": []},
        "domain": None,
        "agreement": None,
        "threshold": 0.3,
        "mean_draws": round(float((4 + seen[seen != GLASS]).mean()), 2),
        "tile_side_level0_px": PX,
        "slide_um_per_px": 0.5,
        "qupath_frame": "qupath",
    }


def test_the_settings_threshold_wins_over_the_models_even_when_zero(tmp_path: Path) -> None:
    path = save_slide(tmp_path / "a.svs")
    made = heatmap(path, ColourReader(), tmp_path / "out", HeatmapSettings(threshold=0.0))
    assert made.summary["threshold"] == 0.0
    assert np.array_equal(made.maps.state, state_of(SEEN.ravel(), 0.0))


def test_a_slide_without_tissue_gives_all_files(tmp_path: Path) -> None:
    path = save_slide(tmp_path / "a.svs", seen=np.full((3, 3), GLASS))
    made = heatmap(path, ColourReader(), tmp_path / "out")
    assert (made.summary["tiles"], made.summary["uncertain_share"]) == (
        {"not analysed": 9, "confident": 0, "uncertain": 0},
        None,
    )
    assert json.loads(gzip.decompress(named(made, "gz").read_bytes()))["features"] == []
    assert json.loads(named(made, "regions.geojson").read_bytes())["features"] == []
    assert len(made.files) == len(ENDINGS)
    assert all(path.exists() for path in made.files)


def test_a_slide_smaller_than_a_tile_gives_all_files(tmp_path: Path) -> None:
    path = save_slide(tmp_path / "a.svs", seen=np.array([[1]]))
    made = heatmap(path, ColourReader(tile_px=2 * PX), tmp_path / "out")
    assert made.summary["tiles"] == {"not analysed": 0, "confident": 0, "uncertain": 0}
    assert len(made.files) == len(ENDINGS)
    assert all(path.exists() for path in made.files)


@pytest.mark.parametrize("stem", ["two words", 'it\'s "quoted"', "ä µ 组织", "<script>", "$x$", "a.b.c", "-o"])
def test_any_file_name_is_kept_as_it_is(tmp_path: Path, stem: str) -> None:
    path = save_slide(tmp_path / f"{stem}.svs", seen=SEEN[:1])
    made = heatmap(path, ColourReader(), tmp_path / "out")
    named_so = [*(f"{stem}.{ending}" for ending in ENDINGS), COLOUR_MAP]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(named_so)
    assert json.loads(named(made, "summary.json").read_text("utf-8"))["slide"] == f"{stem}.svs"


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    path = save_slide(tmp_path / "a.svs")
    heatmap(path, ColourReader(), tmp_path / "out")
    before = file_bytes(tmp_path / "out")
    again = heatmap(path, ColourReader(threshold=0.05), tmp_path / "out")
    after = file_bytes(tmp_path / "out")
    assert list(after) == list(before)
    changed = {name.split("/")[0] for name in before if after[name] != before[name]}
    # the script for QuPath and the colour map hang on slide and classes alone
    assert changed == {f"a.{ending}" for ending in ENDINGS} - {"a.qupath_load.groovy"}
    assert again.summary["threshold"] == 0.05


def test_the_same_run_again_gives_the_same_map(tmp_path: Path) -> None:
    path = save_slide(tmp_path / "a.svs")
    found = []
    for name in ("one", "two"):
        heatmap(path, ColourReader(), tmp_path / name)
        # these three tell the time
        told = ("summary.json", "report.html", "maps.zarr")
        files = file_bytes(tmp_path / name)
        found.append({key: value for key, value in files.items() if not any(part in key for part in told)})
    assert found[0] == found[1]
    assert len(found[0]) == len(ALL) - 3
    (one, _), (two, _) = (read_maps(tmp_path / name / "a.maps.zarr") for name in ("one", "two"))
    assert np.array_equal(one.u, two.u, equal_nan=True)


def test_another_slide_in_the_same_folder_is_left_alone(tmp_path: Path) -> None:
    heatmap(save_slide(tmp_path / "a.svs"), ColourReader(), tmp_path / "out")
    before = file_bytes(tmp_path / "out")
    heatmap(save_slide(tmp_path / "b.svs"), ColourReader(), tmp_path / "out")
    after = file_bytes(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert {Path(name).name for name in after} >= {f"b.{ending}" for ending in ENDINGS if ending != "maps.zarr"}


def test_a_slide_that_cannot_be_read_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "bad.svs").write_text("not a slide")
    with pytest.raises(SlideError) as caught:
        heatmap(tmp_path / "bad.svs", ColourReader(), tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path / 'bad.svs'}: not a readable slide (Unsupported or missing image file). "
        "Check that the file is whole."
    )
    assert not (tmp_path / "out").exists()


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.heatmaps.made import ColourReader
from w2wpath.errors import DiskError
from w2wpath.heatmaps.run import heatmap

slide, out, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    heatmap(slide, ColourReader(threshold=0.05), out)
except DiskError as error:
    print(error)
"""


# nothing fits; tiles and outlines fit, the maps do not
@pytest.mark.parametrize(("size", "first"), [(100, "/a.geojson.gz"), (2000, "/a.maps.zarr")])
def test_a_full_disk_leaves_the_earlier_files_and_no_scratch(tmp_path: Path, size: int, first: str) -> None:
    pytest.importorskip("resource", reason="this system has no file-size limit to set")
    path, out = save_slide(tmp_path / "a.svs"), tmp_path / "out"
    heatmap(path, ColourReader(), out)
    before = file_bytes(out)
    done = run_python(FULL_DISK, path, out, size)
    assert (done.stdout, done.returncode) == (
        f"{out}{first}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again.\n",
        0,
    )
    assert file_bytes(out) == before
    assert sorted(path.name for path in out.iterdir()) == ALL


def test_outlines_are_written_beside_the_tiles_in_the_same_frame(made: Heatmap) -> None:
    tiles = json.loads(gzip.decompress(named(made, "geojson.gz").read_bytes()))
    outlines = json.loads(named(made, "regions.geojson").read_bytes())
    assert (
        outlines["w2wpath"]
        == tiles["w2wpath"]
        == {
            "frame": "qupath",
            "bounds": [0, 0],
            "threshold": 0.3,
            "domain": None,
        }
    )
    confident = {index: (state_of(SEEN) == CONFIDENT) & (CLASS_OF[SEEN] == index) for index in (0, 1)}
    cells = {"Stroma": confident[0], "Tumor": confident[1], "Uncertain*": state_of(SEEN) == UNCERTAIN}
    assert [one["properties"]["classification"]["name"] for one in outlines["features"]] == list(cells)
    for feature, seen in zip(outlines["features"], cells.values(), strict=True):
        boxes = [box(c * PX, r * PX, (c + 1) * PX, (r + 1) * PX) for r, c in np.argwhere(seen).tolist()]
        assert shape(feature["geometry"]).equals(unary_union(boxes))


def test_a_file_with_too_many_tiles_for_qupath_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, heard = save_slide(tmp_path / "a.svs"), Heard()
    heatmap(path, ColourReader(), tmp_path / "out", progress=heard)
    assert heard.lines == []
    monkeypatch.setattr(write, "MANY_OBJECTS", 19)
    heatmap(path, ColourReader(), tmp_path / "out", progress=heard)
    assert heard.lines == [write.size_warning(tmp_path / "out" / "a.geojson.gz", 20)]


def test_the_picture_is_a_png_without_alpha_surprises(made: Heatmap) -> None:
    with Image.open(named(made, "png")) as image:
        assert (image.format, image.width) == ("PNG", 1500)
        assert image.getextrema()[-1] == (255, 255)  # opaque everywhere


def test_a_model_of_other_classes_than_asked_for_is_refused(tmp_path: Path) -> None:
    path = save_slide(tmp_path / "a.svs")
    asked = HeatmapSettings(classes=("Tumor", "Necrosis"))
    with pytest.raises(ModelError) as caught:
        heatmap(path, ColourReader(), tmp_path / "out", asked)
    assert str(caught.value) == (
        f"the model was trained for the classes {', '.join(CLASSES)}; asked for Tumor, Necrosis. "
        "Give another --model, or leave --classes out."
    )
    assert heatmap(path, ColourReader(), tmp_path / "out", HeatmapSettings(classes=CLASSES[::-1])).files


def test_a_threshold_of_another_number_of_draws_is_refused(tmp_path: Path) -> None:
    path = save_slide(tmp_path / "a.svs")
    with pytest.raises(ModelError) as caught:
        heatmap(path, ColourReader(), tmp_path / "out", HeatmapSettings(draws=5))
    assert str(caught.value) == (
        "the model's threshold was taken with 25 draws; asked for 5. "
        "Leave --draws out, or give a --threshold of your own."
    )
    reader = ColourReader()
    heatmap(path, reader, tmp_path / "out", HeatmapSettings(draws=5, threshold=0.1))
    assert {(draws, around) for _, draws, _, around in reader.asked} == {(5, None)}


def test_an_interrupted_run_goes_on_and_a_whole_one_leaves_no_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("w2wpath.heatmaps.notebook.KEPT_EVERY_S", 0.0)
    path, out = save_slide(tmp_path / "a.svs"), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        heatmap(path, ColourReader(fails_at=2), out, HeatmapSettings(batch_size=5))
    assert [file.name for file in out.iterdir()] == [".a.read.npz"]
    later = ColourReader()
    made = heatmap(path, later, out, HeatmapSettings(batch_size=5))
    assert [seed for _, _, seed, _ in later.asked] == [10, 15]
    assert np.array_equal(made.maps.state, state_of(SEEN.ravel()))
    assert sorted(file.name for file in out.iterdir()) == ALL


def outlines(path: Path, *boxes: tuple[str, tuple[int, int, int, int]]) -> Path:
    """Annotations in level-0 pixels: class and (left, top, right, bottom) in cells."""
    features = [
        {
            "type": "Feature",
            "geometry": mapping(box(*(PX * cell for cell in cells))),
            "properties": {"objectType": "annotation", "classification": {"name": name, "color": [9, 9, 9]}},
        }
        for name, cells in boxes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_annotations_are_compared_with_the_map_and_can_be_all_that_is_read(tmp_path: Path) -> None:
    path = save_slide(tmp_path / "a.svs")
    rois = outlines(tmp_path / "a.geojson", ("Tumor", (0, 0, 2, 2)), ("Stroma", (3, 0, 6, 1)))
    made = heatmap(path, ColourReader(), tmp_path / "out", rois=rois)
    assert made.summary["agreement"] is not None
    assert np.array_equal(made.maps.state, state_of(SEEN.ravel()))
    only = heatmap(path, ColourReader(), tmp_path / "only", HeatmapSettings(only_rois=True), rois=rois)
    inside = np.zeros((4, 6), dtype=bool)
    inside[:2, :2] = inside[0, 3:] = True
    assert np.array_equal(only.maps.state != NOT_ANALYSED, inside.ravel())


def test_annotations_that_are_not_there_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    path, reader = save_slide(tmp_path / "a.svs"), ColourReader()
    with pytest.raises(AnnotationError) as missing:
        heatmap(path, reader, tmp_path / "out", rois=tmp_path / "none.geojson")
    assert str(missing.value) == f"{tmp_path / 'none.geojson'}: no such file. Check the path."
    with pytest.raises(ConfigError) as without:
        heatmap(path, reader, tmp_path / "out", HeatmapSettings(only_rois=True))
    assert str(without.value) == (f"{path}: only its annotated regions are to be read, and it has none. Give --rois.")
    assert reader.asked == []


def test_a_slide_unlike_the_training_slides_is_called_out_of_domain_everywhere(tmp_path: Path) -> None:
    odd = DomainReference(centre=(9.0, *[0.0] * 7, -1.0), spread=(0.1, *[9.0] * 8), slides=9)
    made = heatmap(save_slide(tmp_path / "a.svs"), ColourReader(domain=odd), tmp_path / "out")
    assert made.facts.domain is not None
    words = made.facts.domain.words
    assert words.startswith("Out of domain: density in red ")
    assert made.summary["domain"]["inside"] is False
    assert json.loads(named(made, "summary.json").read_text("utf-8"))["domain"] == made.summary["domain"]
    outlines_say = json.loads(named(made, "regions.geojson").read_bytes())["w2wpath"]["domain"]
    tiles_say = json.loads(gzip.decompress(named(made, "geojson.gz").read_bytes()))["w2wpath"]["domain"]
    assert outlines_say == tiles_say == made.summary["domain"]
    assert ",outside" in named(made, "tiles.csv").read_text("utf-8").splitlines()[1]
    assert "println('Out of domain: density in red " in named(made, "groovy").read_text("utf-8")
    with tifffile.TiffFile(named(made, "ome.tif")) as file:
        assert words in html.unescape(file.ome_metadata or "")
    assert words in html.unescape(named(made, "report.html").read_text("utf-8"))
    assert read_maps(named(made, "maps.zarr"))[1].domain == made.facts.domain
