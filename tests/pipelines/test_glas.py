"""The GlaS pipeline: cohort and truth as prepared, on made images and on the real ones; the figures it draws."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.glas import prepare, score
from tests.decided import decided
from w2wpath.config import CleanSettings, TileSettings
from w2wpath.errors import CohortError, TruthError
from w2wpath.tiles.cohort import tile
from w2wpath.tiles.entries import read_cohort
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.ledger import EXCLUDED, read_decisions, write_decisions
from w2wpath.w2wnet.metrics import auroc
from w2wpath.w2wnet.truth import read_truth

HOME = Path(prepare.__file__).parent
HEADER = "name,patient ID,grade (GlaS),grade (Sirinukunwattana et al. 2015)"
ROWS = ("train_1,1,benign,healthy", "train_2,1,malignant,poorly differentiated", "testA_1,2,benign,adenomatous")


def tile_settings(name: str) -> TileSettings:
    return TileSettings(**tomllib.loads((HOME / name).read_text("utf-8"))["tile"])


def tiled(cohort: Path, store: Path, settings: TileSettings) -> TileTable:
    outcomes = tile(store, read_cohort(cohort / "cohort.csv"), settings, previews=False)
    assert [one.error for one in outcomes if one.error] == []
    return TileStore.open(store).table()


@pytest.fixture
def glas(tmp_path: Path) -> Path:
    """A folder like GlaS: three images of 250 x 230 px, noise; cell (0, 0) gland, (1, 0) 5 %, (0, 1) 4.99 %."""
    folder = tmp_path / "data" / "glas"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    (folder / "Grade.csv").write_text("\n".join([HEADER, *ROWS]) + "\n", "utf-8")
    gland = np.zeros((230, 250), dtype=np.uint8)
    gland[:112, :112] = 1
    gland[:5, 112:224] = 1
    gland[5, 112:180] = 1  # 5 x 112 + 68 = 628 of 12,544 px: just above 5 %
    gland[112:117, :112] = 1
    gland[117, :66] = 1  # 626 px: just below
    for seed, row in enumerate(ROWS):
        name = row.partition(",")[0]
        noise = np.random.default_rng(seed).integers(0, 256, (230, 250, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{name}.png")
        Image.fromarray(gland * 255).convert("1").save(folder / "masks" / f"{name}.png")
    return folder


def prepared(glas: Path, out: Path) -> Path:
    images = prepare.read_images(glas)
    prepare.write_cohort(images, out)
    prepare.write_truth(images, glas / "masks", out / "truth")
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_truth_has_the_exact_share_of_gland_in_each_whole_cell(glas: Path, tmp_path: Path) -> None:
    rows = rows_of(prepared(glas, tmp_path / "out") / "truth" / "truth.csv")
    assert len(rows) == 3 * 4
    assert list(rows[0]) == list(prepare.TRUTH_COLUMNS)
    told = [tuple(row.values()) for row in rows[4:8]]
    assert told == [
        ("train_2", "0", "0", "malignant", "0", "", "1.000000"),
        ("train_2", "112", "0", "malignant", "0", "", f"{628 / 12544:.6f}"),
        ("train_2", "0", "112", "malignant", "1", "no gland", f"{626 / 12544:.6f}"),
        ("train_2", "112", "112", "malignant", "1", "no gland", "0.000000"),
    ]


def test_numbered_glands_count_as_gland(glas: Path, tmp_path: Path) -> None:
    path = glas / "masks" / "train_1.png"
    numbered = np.asarray(Image.open(path)).astype(np.uint8) * 7
    Image.fromarray(numbered).save(path)
    image = prepare.read_images(glas)[0]
    assert (prepare.read_mask(image, glas / "masks") == (numbered == 7)).all()


@pytest.mark.parametrize("settings", ["study.toml", "study-gpu.toml"])
def test_the_tiler_cuts_the_cells_of_the_truth_and_labels_them_by_grade(
    glas: Path, tmp_path: Path, settings: str
) -> None:
    out = prepared(glas, tmp_path / "out")
    table = tiled(out, tmp_path / "tiles.zarr", tile_settings(settings))
    truth = read_truth(out / "truth" / "truth.csv", table)
    assert table.n == 12
    assert truth.known.all()
    assert (table.side0 == prepare.SIDE0).all()
    assert np.array(table.classes)[table.label].tolist() == truth.content.tolist()
    assert table.patients == ("1", "2")
    assert np.bincount(table.patient).tolist() == [8, 4]


@pytest.mark.parametrize("settings", ["study.toml", "study-gpu.toml"])
def test_three_votes_a_tile_cannot_tie(settings: str) -> None:
    table = tomllib.loads((HOME / settings).read_text("utf-8"))
    assert CleanSettings(**table["clean"]).folds - 1 == 3


def test_only_the_truth_depends_on_the_masks(glas: Path, tmp_path: Path) -> None:
    before = prepared(glas, tmp_path / "before")
    for mask in (glas / "masks").iterdir():
        Image.fromarray(~np.asarray(Image.open(mask))).save(mask)
    after = prepared(glas, tmp_path / "after")
    same = [path for path in before.rglob("*") if path.is_file() and "truth" not in path.parts]
    assert len(same) == 5
    assert all(path.read_bytes() == (after / path.relative_to(before)).read_bytes() for path in same)
    assert (before / "truth" / "truth.csv").read_bytes() != (after / "truth" / "truth.csv").read_bytes()


def test_what_is_not_glas_is_refused_in_words(glas: Path, tmp_path: Path) -> None:
    table = glas / "Grade.csv"
    with pytest.raises(CohortError) as caught:
        prepare.read_images(tmp_path)
    assert str(caught.value) == f"{tmp_path}/Grade.csv: no such file. Give --data the folder that holds glas/."
    table.write_text(f"{HEADER}\ntrain_1,1,odd,healthy\n", "utf-8")
    with pytest.raises(CohortError) as caught:
        prepare.read_images(glas)
    assert str(caught.value) == f"{table}: train_1: class must be benign or malignant; got 'odd'."
    table.write_text(f"{HEADER}\ntrain_9,1,benign,healthy\n", "utf-8")
    with pytest.raises(CohortError) as caught:
        prepare.read_images(glas)
    assert str(caught.value) == f"{glas}/images: holds 0 files of image train_9; one is needed."


def test_a_mask_of_another_image_is_refused(glas: Path) -> None:
    image = prepare.read_images(glas)[0]
    path = glas / "masks" / "train_1.png"
    Image.new("1", (100, 100)).save(path)
    with pytest.raises(TruthError) as caught:
        prepare.read_mask(image, glas / "masks")
    assert str(caught.value) == (f"{path}: is (100, 100) px, its image (250, 230). Bring back the mask of this image.")


def test_a_band_holds_its_lower_edge() -> None:
    shares = np.array([0.0, 1e-6, 0.0499, 0.05, 0.1, 0.25, 0.4999, 0.5, 1.0])
    assert score.band_of(shares).tolist() == [0, 1, 1, 2, 3, 4, 4, 5, 5]


def scored(n: int = 400, patients: int = 5) -> score.Scored:
    """Tiles whose joined score falls with the gland in them; nothing else knows of it."""
    rng = np.random.default_rng(0)
    share = np.concatenate([np.zeros(n // 4), rng.random(n - n // 4)])
    patient = rng.integers(patients, size=n).astype(np.int32)
    joined = 1.5 - share + rng.normal(0, 0.2, n)
    return score.Scored(
        share=share,
        spurious=share < prepare.LEAST_GLAND,
        scores={score.JOINED: joined, score.STATISTICS: rng.random(n)},
        removed={"excluded in training": joined > 1, "masked when unseen": np.zeros(n, dtype=np.bool_)},
        groups={"class": np.where(patient < 2, "benign", "malignant"), "patient": patient.astype(np.str_)},
        patient=patient,
    )


def test_the_figures_are_those_of_plain_counts() -> None:
    made = scored()
    found = score.figures(made)
    joined, excluded = made.scores[score.JOINED], made.removed["excluded in training"]
    areas, removed = found["AUROC"][score.JOINED], found["removed"]["excluded in training"]
    assert sum(found["tiles by band"].values()) == found["tiles"] == 400
    assert areas[score.SPURIOUS]["value"] == auroc(joined, made.share < 0.05)
    among = ((made.share >= 0.1) & (made.share < 0.25)) | (made.share >= 0.5)
    assert areas["10-25 %"]["value"] == auroc(joined[among], made.share[among] < 0.25)
    assert areas["10-25 %"]["n"] == among.sum()
    assert areas["0 %"]["low"] < areas["0 %"]["value"] <= areas["0 %"]["high"]
    assert removed["gland share"]["> 50 %"]["value"] == excluded[made.share >= 0.5].mean()
    assert removed["class"]["benign"]["value"] == excluded[made.patient < 2].mean()
    assert list(removed["patient"]) == ["0", "1", "2", "3", "4"]
    assert removed["patient"]["3"]["low"] is None  # one patient tells no spread over patients
    assert found["margin"]["low"] > 0
    json.dumps(found, allow_nan=False)


def test_a_band_without_tiles_has_no_figure_and_is_drawn(tmp_path: Path) -> None:
    made = scored()
    few = np.flatnonzero((made.share == 0) | (made.share >= 0.5))

    def taken(by_name: Any) -> Any:
        return {name: values[few] for name, values in by_name.items()}

    part = score.Scored(
        made.share[few],
        made.spurious[few],
        taken(made.scores),
        taken(made.removed),
        taken(made.groups),
        made.patient[few],
    )
    found = score.figures(part)
    assert found["AUROC"][score.JOINED]["5-10 %"]["value"] is None
    assert "| gland share | 5-10 % | 0 | – | – |" in score.markdown(found)
    score.draw(part, found, tmp_path / "glas.png")
    with Image.open(tmp_path / "glas.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 5


def test_a_run_is_scored_from_the_store(glas: Path, tmp_path: Path) -> None:
    out = prepared(glas, tmp_path / "out")
    table = tiled(out, tmp_path / "tiles.zarr", tile_settings("study.toml"))
    store = TileStore.open(tmp_path / "tiles.zarr")
    spurious = table.y0 > 0
    about = {"store_hash": store.content_hash()}
    made = decided(table, about, state=np.where(spurious, EXCLUDED, 0), score=np.where(spurious, 2.0, 0.5))
    write_decisions(store, table, made)
    found = score.figures(score.gather(store, out, read_decisions(store, table)))
    assert found["tiles by band"] == dict(zip(score.BANDS, (3, 3, 3, 0, 0, 3), strict=True))
    assert found["AUROC"][score.JOINED][score.SPURIOUS]["value"] == 1.0
    assert found["AUROC"]["label, training"]["0 %"]["value"] == 1.0
    assert found["AUROC"][score.UNCERTAINTY][score.SPURIOUS]["value"] == 0.5
    removed = found["removed"]["excluded in training"]
    assert [removed["tiles"][name]["value"] for name in ("all", "< 5 % gland", "the rest")] == [0.5, 1.0, 0.0]
    assert {name: one["n"] for name, one in removed["grade"].items()} == {
        "adenomatous": 4,
        "healthy": 4,
        "poorly differentiated": 4,
    }
    assert found["removed"]["masked when unseen"]["tiles"]["all"]["value"] == 0.0


def test_a_truth_without_shares_is_refused(glas: Path, tmp_path: Path) -> None:
    out = prepared(glas, tmp_path / "out")
    table = tiled(out, tmp_path / "tiles.zarr", tile_settings("study.toml"))
    path = out / "truth" / "truth.csv"
    path.write_text("slide,x0,y0\ntrain_1,0,0\n", "utf-8")
    with pytest.raises(TruthError) as caught:
        score.gland_share(path, table)
    assert str(caught.value) == f"{path}: gland_share must be 0 to 1; got None. Run prepare.py again."


@pytest.mark.realdata
def test_the_real_images_are_prepared_and_tiled_cell_by_cell(test_data: Path, tmp_path: Path) -> None:
    glas = test_data / "glas"
    if not glas.is_dir():
        pytest.skip(f"GlaS is not there: {glas}")
    images = prepare.read_images(glas)
    counts = prepare.count_images(images)
    assert (counts["images"], counts["patients"]) == (165, 16)
    assert counts["images by class"] == {"benign": 74, "malignant": 91}
    truth = prepare.write_truth(images, glas / "masks", tmp_path / "out" / "truth")
    assert truth["tiles by class"] == {"benign": 1738, "malignant": 2136}
    assert truth["share spurious"] == 0.1647
    # every size of image once: tiling all of them takes a minute
    sizes: dict[tuple[int, int], prepare.Graded] = {}
    for image in images:
        with Image.open(image.path) as opened:
            sizes.setdefault(opened.size, image)
    few = list(sizes.values())
    prepare.write_cohort(few, tmp_path / "out")
    table = tiled(tmp_path / "out", tmp_path / "tiles.zarr", tile_settings("study.toml"))
    cells = {tuple(row.values())[:3] for row in rows_of(tmp_path / "out" / "truth" / "truth.csv")}
    cut = {(table.slides[s], str(x), str(y)) for s, x, y in zip(table.slide, table.x0, table.y0, strict=True)}
    assert len(few) == 6
    assert cut == {cell for cell in cells if cell[0] in {image.name for image in few}}
    assert (table.side0 == prepare.SIDE0).all()
