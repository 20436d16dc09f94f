"""What is packed names nobody, is otherwise what was there, and a page that still does is refused."""

from __future__ import annotations

import gzip
import html
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import file_bytes, file_size_limit
from tests.heatmaps.made import ColourReader, made_maps, save_slide
from tests.heatmaps.test_store import FACTS, STATES
from w2wpath.errors import ConfigError, DiskError, StoreError
from w2wpath.heatmaps import pdf, share
from w2wpath.heatmaps.anonymous import REMOVED, Names, clean_facts, clean_page, left_in_page, names_of
from w2wpath.heatmaps.maps import Facts, Maps
from w2wpath.heatmaps.png import overlay_png, slide_picture
from w2wpath.heatmaps.run import heatmap
from w2wpath.heatmaps.store import write_maps
from w2wpath.w2wnet.domain import as_json

STEM = "H21-0815 Müller"
PIXELS = "QUJD" * 100
SCRIPT = "const tile = 1 < 2 && '</b>'; // slides"


def facts_of(stem: str) -> Facts:
    path = f"/data/Study 7/{stem}.svs"
    ran = {
        "command": "heatmap",
        "argv": ["heatmap", path, "--patient", "P-4711", "--threshold", "0.5"],
        "settings": {"draws": None, "rois": f"{path}.geojson"},
        "patient": "P-4711",
        "slide": f"{stem}.svs",
    }
    return replace(FACTS, slide=f"{stem}.svs", provenance=ran, model={"trained on": "/home/eve/model, 12 slides"})


def made() -> Maps:
    return made_maps(STATES, [0, 1, 1, 0, 0, 1], columns=3)


def page_of(stem: str, facts: Facts) -> str:
    """A page built as the report is: words and attributes escaped for HTML, data as JSON safe in a script."""

    def data(value: Any) -> str:
        return re.sub("[<>&']", lambda m: f"\\u{ord(m[0]):04x}", json.dumps(value))

    ran = "".join(
        f"<dt>{html.escape(key)}</dt><dd><code>"
        f"{html.escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}</code></dd>"
        for key, value in facts.provenance.items()
    )
    link = quote(f"{stem}.geojson.gz")
    return (
        f"<!DOCTYPE html>\n<html lang=en><head><title>heatmap of {html.escape(facts.slide)}</title>"
        "<style>.tile > a { color: red }</style></head>"
        f'<body class="tile"><h1>Heatmap of <b>{html.escape(stem)}</b> &amp; tiles</h1><br/>'
        f'<img alt="{html.escape(stem)}" src="data:image/png;base64,{PIXELS}">'
        f"<a href=\"{link}\" title='x'>{html.escape(stem)}.geojson.gz</a><dl>{ran}</dl>"
        f'<script type="application/json" id="data">{data({"tile": [1, 2], "name": stem, "argv": ["a"]})}</script>'
        f'<script type="application/json" id="source">{data({"tiles": {"0/0/0": PIXELS}})}</script>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def fill(out: Path, *stems: str) -> Path:
    out.mkdir(exist_ok=True)
    maps = made()
    for stem in stems:
        facts = facts_of(stem)
        write_maps(out / f"{stem}.maps.zarr", maps, facts)
        thumbnail = np.full((100, 150, 3), (240, 200, 220), dtype=np.uint8)
        picture = overlay_png(maps, thumbnail, facts.slide, opacity=0.5, domain=facts.domain)
        (out / f"{stem}.overlay.png").write_bytes(picture)
        (out / f"{stem}.report.html").write_text(page_of(stem, facts), "utf-8")
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two slides; do not change it."""
    return fill(tmp_path_factory.mktemp("shared") / "out", STEM, "B it's <b> & 12")


def packed(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


def texts(files: Mapping[str, bytes]) -> str:
    return "\n".join(
        (gzip.decompress(data) if name.endswith(".gz") else data).decode("latin-1") for name, data in files.items()
    )


ENDINGS = [".report.html", ".report.pdf", ".geojson.gz", ".regions.geojson"]


def test_each_slide_has_four_files_under_a_name_that_says_nothing(folder: Path, tmp_path: Path) -> None:
    before = file_bytes(folder)
    made = share.share(folder, tmp_path / "a.zip")
    files = packed(tmp_path / "a.zip")
    assert list(files) == list(made.files) == [f"slide-0{i}{ending}" for i in (1, 2) for ending in ENDINGS]
    assert made.slides == {"slide-01": "B it's <b> & 12", "slide-02": STEM}
    assert made.skipped == ()
    every = texts(files).encode("latin-1").decode("utf-8", "ignore")
    for secret in (
        "H21",
        "Müller",
        "M\\u00fcller",
        "M%C3%BCller",
        "0815",
        "P-4711",
        "Study",
        "/data",
        "eve",
        "it's <b",
    ):
        assert secret not in every, secret
    assert file_bytes(folder) == before


def test_a_page_keeps_everything_else(folder: Path, tmp_path: Path) -> None:
    share.share(folder, tmp_path / "a.zip")
    page = packed(tmp_path / "a.zip")["slide-02.report.html"].decode()
    assert f"<script>{SCRIPT}</script>" in page
    assert "<style>.tile > a { color: red }</style>" in page
    assert page.count(PIXELS) == 2
    assert page.startswith("<!DOCTYPE html>\n<html lang=en>")
    assert "<h1>Heatmap of <b>slide-02</b> &amp; tiles</h1><br/>" in page
    assert '<a href="slide-02.geojson.gz" title="x">slide-02.geojson.gz</a>' in page
    assert f"<dt>argv</dt><dd><code>{REMOVED}</code></dd>" in page
    (data,) = re.findall(r'id="data">(.*?)</script>', page)
    assert json.loads(data) == {"tile": [1, 2], "name": "slide-02", "argv": []}


@pytest.mark.parametrize("keep_names", [False, True])
def test_the_page_of_a_real_heatmap_links_only_what_is_packed(tmp_path: Path, keep_names: bool) -> None:
    heatmap(save_slide(tmp_path / "case 7 & <b>.svs"), ColourReader(), tmp_path / "out")
    share.share(tmp_path / "out", tmp_path / "a.zip", keep_names=keep_names)
    label = "case 7 & <b>" if keep_names else "slide-01"
    files = packed(tmp_path / "a.zip")
    assert sorted(files) == sorted(
        f"{label}.{ending}" for ending in ("report.html", "report.pdf", "geojson.gz", "regions.geojson")
    )
    page = files[f"{label}.report.html"].decode()
    links = [unquote(html.unescape(link)) for link in re.findall(r'<li><a href="([^"#]+)">', page)]
    assert links == [f"{label}.geojson.gz", f"{label}.regions.geojson"]
    assert ("case 7" in page) == keep_names
    assert json.loads(files[f"{label}.regions.geojson"])["w2wpath"]["domain"] is None


def test_the_qupath_files_are_those_of_the_maps(folder: Path, tmp_path: Path) -> None:
    share.share(folder, tmp_path / "a.zip")
    files = packed(tmp_path / "a.zip")
    tiles = json.loads(gzip.decompress(files["slide-01.geojson.gz"]))
    assert len(tiles["features"]) == 4
    said = {"frame": "qupath-rot90", "bounds": [3, 4], "threshold": 0.3, "domain": as_json(FACTS.domain)}
    assert tiles["w2wpath"] == said
    assert len(json.loads(files["slide-01.regions.geojson"])["features"]) == 3


def test_names_can_be_kept(folder: Path, tmp_path: Path) -> None:
    made = share.share(folder, tmp_path / "a.zip", keep_names=True)
    files = packed(tmp_path / "a.zip")
    assert made.slides[STEM] == STEM
    assert files[f"{STEM}.report.html"] == (folder / f"{STEM}.report.html").read_bytes()


def test_the_same_folder_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        share.share(folder, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_what_is_missing_is_said_and_the_rest_is_packed(tmp_path: Path) -> None:
    out = fill(tmp_path / "out", "abc-1", "abc-2")
    (out / "abc-1.report.html").unlink()
    (out / "abc-1.overlay.png").write_bytes(b"no picture")
    (out / "abc-2.maps.zarr" / "zarr.json").unlink()
    made = share.share(out, tmp_path / "a.zip")
    assert list(made.files) == [f"slide-01{ending}" for ending in ENDINGS[1:]]
    assert made.skipped == (
        f"{out}/abc-1.report.html: is not there. Run `w2wpath heatmap` for the slide again to have it packed.",
        f"{out}/abc-1.overlay.png: is not there or another picture, so the PDF has no slide in it.",
        f"{out}/abc-2.maps.zarr: not the maps of a heatmap. Give a <slide>.maps.zarr of `w2wpath heatmap`.",
    )


def test_a_page_that_still_names_the_slide_stops_everything(tmp_path: Path) -> None:
    out = fill(tmp_path / "out", "H21-0815")
    page = out / "H21-0815.report.html"
    page.write_text(page.read_text("utf-8").replace("</body>", "<script>x = 'H21-0815'</script></body>"), "utf-8")
    (tmp_path / "a.zip").write_bytes(b"old")
    with pytest.raises(ConfigError) as caught:
        share.share(out, tmp_path / "a.zip")
    assert str(caught.value) == (
        f"{page}: still holds 'H21-0815' after names were taken out, so nothing was packed. "
        "Rename the slide and run `w2wpath heatmap` again, or pass --keep-names."
    )
    assert (tmp_path / "a.zip").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_a_folder_without_maps_and_a_wrong_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        share.share(tmp_path, tmp_path / "a.zip")
    assert str(caught.value) == (
        f"{tmp_path}: holds no *.maps.zarr. Make it with `w2wpath heatmap`, or give another folder."
    )
    with pytest.raises(ConfigError) as caught:
        share.share(tmp_path, tmp_path / "a.tar")
    assert str(caught.value) == f"{tmp_path / 'a.tar'}: is no name of a zip file. Give one that ends with .zip."


def test_maps_that_are_all_damaged_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.maps.zarr").mkdir()
    with pytest.raises(StoreError) as caught:
        share.share(tmp_path, tmp_path / "a.zip")
    assert str(caught.value) == (
        f"{tmp_path}: none of the maps can be read. The first: {tmp_path / 'a.maps.zarr'}: not the maps of a heatmap. "
        "Give a <slide>.maps.zarr of `w2wpath heatmap`."
    )
    assert not (tmp_path / "a.zip").exists()


def test_a_full_disk_leaves_what_was_there(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.zip"
    target.write_bytes(b"old")
    with file_size_limit(2000), pytest.raises(DiskError):
        share.share(folder, target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


# names --------------------------------------------------------------------------------------------------------------


def test_paths_patients_and_the_file_are_known_from_the_record() -> None:
    facts = facts_of(STEM)
    names = names_of(STEM, facts.slide, facts.provenance, "slide-01")
    assert names.others == (
        f"/data/Study 7/{STEM}.svs.geojson",
        f"/data/Study 7/{STEM}.svs",
        "P-4711",
    )
    cleaned = clean_facts(facts.provenance, names)
    assert cleaned == {
        "command": "heatmap",
        "settings": {"draws": None, "rois": REMOVED},
        "patient": REMOVED,
        "slide": "slide-01.svs",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.svs, see a.report.html", "x.svs, see x.report.html"),
        ("a", "x"),
        ("a tile of a class", "a tile of a class"),
        ("data.svs", "data.svs"),
        ("1/a.svs", "1/x.svs"),
    ],
)
def test_a_short_stem_goes_only_where_it_names_a_file(text: str, expected: str) -> None:
    assert Names("x", "a").clean(text) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/home/eve/a b.svs",
        "C:\\Users\\eve\\a.svs",
        "C:/a.svs",
        "\\\\nas\\a.svs",
        "~/x/y",
        "file:///a/b",
        "/My Study/a.svs",
    ],
)
def test_a_path_goes_wherever_it_stands(path: str) -> None:
    assert Names("x", "none here").clean(f"see '{path}' here") == f"see '{REMOVED}' here"


@pytest.mark.parametrize("text", ["0.5 um/px", "https://github.com/a/b", "1 / 2", "a / b / c", "and/or", "a, b", "N/A"])
def test_what_is_no_path_stays(text: str) -> None:
    assert Names("x", "none here").clean(text) == text


def test_case_does_not_matter() -> None:
    assert Names("slide-01", "Case-12").clean("CASE-12 and case-12") == "slide-01 and slide-01"


@given(stem=st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/"), min_size=1, max_size=12))
def test_no_page_names_its_slide_and_its_scripts_stay(stem: str) -> None:
    names = names_of(stem, f"{stem}.svs", facts_of(stem).provenance, "slide-01")
    page = page_of(stem, facts_of(stem))
    cleaned = clean_page(page, names)
    assert not left_in_page(cleaned, names)
    assert f"<script>{SCRIPT}</script>" in cleaned
    (source,) = re.findall(r'id="source">(.*?)</script>', cleaned)
    assert json.loads(source) == {"tiles": {"0/0/0": PIXELS}}
    assert clean_page(cleaned, names) == cleaned or "slide-01".find(stem.casefold()) >= 0


@given(st.text(max_size=60))
def test_any_text_as_a_page_is_no_error(text: str) -> None:
    clean_page(text, Names("slide-01", "H21-0815"))


# pages --------------------------------------------------------------------------------------------------------------


def test_the_slide_is_cut_out_of_the_picture() -> None:
    maps, rng = made(), np.random.default_rng(0)
    thumbnail = np.kron(rng.integers(0, 255, (2, 3, 3)), np.ones((50, 50, 1))).astype(np.uint8)
    for domain in (None, FACTS.domain):
        image = overlay_png(maps, thumbnail, "a", opacity=0.5, domain=domain)
        found = slide_picture(np.asarray(Image.open(io.BytesIO(image)).convert("RGB")), maps, domain)
        assert found is not None
        assert found.shape[1] / found.shape[0] == pytest.approx(1.5, abs=0.02)
        middles = found[[70, 235]][:, [75, 234, 390]]
        assert np.abs(middles.astype(int) - thumbnail[[25, 75]][:, [25, 75, 125]]).max() <= 2
    assert slide_picture(thumbnail, maps) is None


def test_the_pdf_has_two_pages_and_says_what_matters() -> None:
    data = pdf.pages_pdf(made(), FACTS, None)
    assert len(re.findall(rb"/Type /Page\b", data)) == 2
    assert data == pdf.pages_pdf(made(), FACTS, None)
    for page in (pdf._first(made(), FACTS, None), pdf._second(made(), FACTS, None)):
        said = [text.get_text() for text in page.texts]
        assert any(text.startswith("Research use only") for text in said)
        (red,) = [text for text in page.texts if text.get_color() == "#b00000"]
        assert red.get_text().startswith("Out of domain: eosin")
    assert pdf._areas(made()) == [
        ["Stroma", "1", "0.003", "25.0%"],
        ["Tumor", "1", "0.003", "25.0%"],
        ["uncertain, any class", "2", "0.005", "50.0%"],
    ]


def test_a_slide_without_a_tile_and_any_name_can_be_printed() -> None:
    maps = replace(made_maps([], [], columns=3), height0=200, classes=("$a_", "组织"))
    facts = replace(FACTS, slide=r"$\nope$ 组.svs", domain=None, model={str(i): "x " * 99 for i in range(40)})
    assert pdf.pages_pdf(maps, facts, None).startswith(b"%PDF")
