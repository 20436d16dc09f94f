"""The heatmap page in a browser: offline, without an error, by mouse and keyboard, at the right pixels, accessible."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser import CHROMIUM, browser
from tests.conftest import save_bounded_tiff, save_svs
from tests.heatmaps.made import CLASS_OF, CLASSES, GLASS, PALETTE, PX, SEEN, U_OF, made_maps, picture, state_of
from tests.heatmaps.pages import EVIL, facts, maps_of, serving, write
from w2wpath.frames import named_frame
from w2wpath.heatmaps.annotations import Region
from w2wpath.heatmaps.maps import CONFIDENT, REASONS, UNCERTAIN
from w2wpath.heatmaps.page import content_of
from w2wpath.heatmaps.server import Shown, Viewer
from w2wpath.qupath.colours import class_colours
from w2wpath.slides.reader import open_slide
from w2wpath.w2wnet.domain import Domain

if not CHROMIUM.exists():
    pytest.skip(f"the pages are opened with {CHROMIUM}, which is not installed", allow_module_level=True)

__all__ = ["browser"]  # a fixture is found where its name stands

Open = Callable[..., Page]
STATE = [0, 2, 2, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2]
REASON = ["", "uncertain", "focus", "", "", "disagree", "", "", "uncertain", *[""] * 8, "uncertain"]
U = [0, 0.4, 0.1, 0.05, 0.2, 0.1, 0.3, 0, 0.45, 0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.31]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six by three tiles with every state, reason and section, in which every name tries to break out of the page."""
    folder = tmp_path_factory.mktemp("page")
    probs = np.array([[0.7, 0.2, 0.1]] * 18, dtype=np.float32)
    probs[4] = [0.05, 0.35, 0.6]
    probs[0] = np.nan
    maps = replace(
        made_maps(STATE, [0] * 18, columns=6),
        classes=(EVIL, "Stroma", "Tumor"),
        probs_nk=probs,
        reason=np.array([REASONS.index(name) for name in REASON], dtype=np.uint8),
        u=np.array(U, dtype=np.float32),
        unread=np.arange(18) == 0,
    )
    about = replace(facts(named_frame("qupath", 600, 300, None), EVIL, Domain(False, 2.0, (EVIL,))), model={EVIL: EVIL})
    slide = save_svs(folder / "slide.svs", np.full((300, 600, 3), 200, dtype=np.uint8))
    path, _ = write(
        folder / "report.html",
        slide,
        maps=maps,
        facts=about,
        rois=[Region(EVIL, (0, 90, 200), shapely.Point(300, 150).buffer(120) - shapely.box(290, 140, 310, 160))],
        tissue=np.eye(30, 60, dtype=np.bool_),
        downloads=[EVIL],
        truth={EVIL: EVIL},
    )
    return path


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Open a page in a window of its own, offline; in the end it has asked for nothing and complained of nothing."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_page(path: Path, **options: Any) -> Page:
        context = browser.new_context(offline=True, **{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:", "file:///"))] == []
    assert {os.path.basename(url) for url in asked if url.startswith("file:")} == {"report.html"}


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def inked(page: Page, pane: str) -> int:
    """Count the pixels that are drawn on the canvases of a pane."""
    return sum(int((image[..., 3] > 0).sum()) for image in canvases(page, pane))


def canvases(page: Page, pane: str) -> list[NDArray[np.uint8]]:
    """Return what is drawn on the canvases of a pane, (h, w, 4) each."""
    script = "all => all.map(canvas => canvas.toDataURL().split(',')[1])"
    found = page.eval_on_selector_all(f".leaflet-{pane}-pane canvas", script)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA")) for text in found]


def drawn_states(page: Page) -> list[int]:
    found: list[int] = page.evaluate("[...w2w.state]")
    return found


def slide_to(page: Page, slider: str, value: float) -> None:
    script = "(node, value) => { node.value = value; node.dispatchEvent(new Event('input', { bubbles: true })); }"
    page.eval_on_selector(slider, script, value)


def readout(page: Page) -> dict[str, str]:
    keys = ("state", "first", "second", "u", "xy", "um")
    return {key: page.inner_text(f"#t-{key}") for key in keys if page.locator(f"#t-{key}").is_visible()}


def centre(page: Page, x0: float, y0: float) -> tuple[float, float]:
    """Return where on the screen a level-0 point lies."""
    at = page.evaluate("([x, y]) => w2w.map.latLngToContainerPoint([-y, x])", [x0, y0])
    box = page.locator("#map").bounding_box()
    assert box is not None
    return box["x"] + at["x"], box["y"] + at["y"]


def point_at(page: Page, x0: float, y0: float, state: str) -> None:
    """Point at a level-0 point until the page says its state: a hand moves often, a busy browser may lose one move."""
    x, y = centre(page, x0, y0)
    for attempt in range(20):
        page.mouse.move(x + attempt % 2, y)
        page.wait_for_timeout(10 * attempt)
        if page.text_content("#t-state") == state:
            return
    expect(page.locator("#t-state")).to_have_text(state)


def pixels(page: Page) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


def shown(page: Page) -> None:
    """Wait until every tile of the slide's picture is there."""
    page.wait_for_function(
        "(all => all.length && all.every(one => one.complete && one.naturalWidth))"
        "([...document.querySelectorAll('.slide-tile img')])"
    )


def test_names_do_nothing_but_stand_there(opened: Open, report: Path) -> None:
    page = opened(report)
    shown(page)
    assert page.inner_text("h1 .name") == EVIL
    assert page.locator("#class-legend li label span").first.inner_text() == EVIL
    assert page.locator("img[src=x]").count() == 0
    press(page, "n")
    assert readout(page)["first"] == f"{EVIL} 0.70"


def test_h_hides_the_overlay_and_shows_it_again(opened: Open, report: Path) -> None:
    page = opened(report)
    layers = page.locator(".leaflet-fill-pane canvas, .leaflet-marks-pane canvas")
    assert {one.is_visible() for one in layers.all()} == {True}
    press(page, "h")
    assert {one.is_visible() for one in layers.all()} == {False}

    assert page.get_attribute("#toggle", "aria-pressed") == "false"
    page.click("#toggle")
    assert layers.first.is_visible()
    page.uncheck("#single")
    page.keyboard.press("h")  # the focus is not in the slide
    assert layers.first.is_visible()
    page.focus("#map")
    press(page, "H")
    assert not layers.first.is_visible()


def test_the_hatch_follows_the_threshold_and_goes_back_to_the_models_own_states(opened: Open, report: Path) -> None:
    page = opened(report)
    assert drawn_states(page) == STATE
    before = inked(page, "marks")
    slide_to(page, "#threshold", 0)
    # whatever has any u at all
    assert drawn_states(page) == [UNCERTAIN if u > 0 else min(i, CONFIDENT) for i, u in enumerate(U)]

    assert page.inner_text("#masked") == "15 of 17 tiles masked (88.2 %)"
    assert inked(page, "marks") > before
    slide_to(page, "#threshold", 200)
    # image quality, and networks that disagree, are doubtful whatever the threshold
    assert drawn_states(page) == [0, 1, 2, 1, 1, 2, *[1] * 12]
    assert page.inner_text("#masked") == "2 of 17 tiles masked (11.8 %)"
    assert page.locator("td[data-cells='u']").inner_text() == "2"
    assert inked(page, "marks") < before
    page.click("#reset")
    assert drawn_states(page) == STATE
    assert inked(page, "marks") == before
    assert page.inner_text("#masked") == "5 of 17 tiles masked (29.4 %)"
    expect(page.locator("#reset")).to_be_disabled()


def test_a_tile_is_read_by_mouse(opened: Open, report: Path) -> None:
    page = opened(report)
    point_at(page, 450, 50, "confident")
    expect(page.locator("#tile")).to_be_visible()
    assert readout(page) == {
        "state": "confident",
        "first": "Tumor 0.60",
        "second": "Stroma 0.35",
        "u": "0.200",
        "xy": "400, 0",
        "um": "200.0, 0.0",
    }
    point_at(page, 250, 50, "uncertain: image quality, focus")
    point_at(page, 50, 50, "not analysed: its pixels cannot be decoded")
    assert set(readout(page)) == {"state", "xy", "um"}
    page.mouse.click(*centre(page, 550, 50))
    assert readout(page)["state"] == "uncertain: the two networks disagree"
    page.mouse.move(*centre(page, 450, 50))  # held, until it is let go
    assert page.input_value("#script") == "getCurrentViewer().setCenterPixelLocation(550, 50)"
    page.click("#copy")
    expect(page.locator("#copied")).to_have_text("Copied.")
    page.click("#release")
    expect(page.locator("#tile")).to_be_hidden()


def test_tiles_are_read_by_keys_and_the_slide_pans_and_zooms(opened: Open, report: Path) -> None:
    page = opened(report, reduced_motion="reduce")
    page.focus("#map")
    press(page, "Enter")
    assert page.evaluate("w2w.held()") == 9  # the middle of the slide lies on its corner
    press(page, "Shift+ArrowRight", "Shift+ArrowUp")
    assert readout(page)["xy"] == "400, 0"
    press(page, "Shift+ArrowUp")
    assert readout(page)["xy"] == "400, 0"
    press(page, "Escape")
    assert page.evaluate("w2w.held()") is None
    whole = page.evaluate("w2w.map.getZoom()")
    press(page, "-")
    assert page.evaluate("w2w.map.getZoom()") == whole - 1
    press(page, "+", "+")
    assert page.evaluate("w2w.map.getZoom()") == whole + 1
    x = page.evaluate("w2w.map.getCenter().lng")
    press(page, "ArrowRight")
    assert page.evaluate("w2w.map.getCenter().lng") > x
    press(page, "0")
    assert page.evaluate("w2w.map.getZoom()") == whole
    assert page.evaluate("w2w.map.getCenter().lng") == pytest.approx(300, abs=1)


def test_n_and_p_go_from_one_uncertain_area_to_the_next(opened: Open, report: Path) -> None:
    page = opened(report)
    assert page.evaluate("w2w.areas()") == [3, 1, 1]
    said = []
    for key in "nnnnp":
        press(page, key)
        said.append((page.inner_text("#said"), page.evaluate("w2w.held()")))
    first, last = ("Uncertain area 1 of 3: 3 tiles", 1), ("Uncertain area 3 of 3: 1 tile", 17)
    assert said == [(first[0], said[0][1]), ("Uncertain area 2 of 3: 1 tile", 5), last, (first[0], said[0][1]), last]
    assert said[0][1] in (1, 2, 8)
    slide_to(page, "#threshold", 200)
    press(page, "p")
    assert page.inner_text("#said") == "Uncertain area 2 of 2: 1 tile"
    page.click("#next")
    assert page.inner_text("#said") == "Uncertain area 1 of 2: 1 tile"


def test_layers_opacity_cutoff_and_classes(opened: Open, report: Path) -> None:
    page = opened(report)
    fill = page.locator(".leaflet-fill-pane .leaflet-layer")
    assert fill.evaluate("node => node.style.opacity") == "0.5"
    slide_to(page, "#opacity", 0.8)
    assert fill.evaluate("node => node.style.opacity") == "0.8"
    assert page.get_attribute("#opacity", "max") == "0.8"
    whole = inked(page, "fill")
    page.uncheck("[data-class='2']")
    assert 0 < inked(page, "fill") < whole
    page.check("[data-class='2']")
    page.select_option("#layer", "2")
    assert page.inner_text("#ramp-words") == "probability of Tumor"
    expect(page.locator("#class-legend")).to_be_hidden()
    assert inked(page, "fill") == whole  # 0.1 is not below 0.1
    slide_to(page, "#cutoff", 0.5)
    assert inked(page, "fill") == pytest.approx(whole / 12, rel=0.01)
    page.select_option("#layer", "u")
    assert inked(page, "fill") == pytest.approx(whole * 17 / 12, rel=0.01)
    assert page.inner_text("#ramp-end") == "0.67"
    page.select_option("#layer", "none")
    assert inked(page, "fill") == 0
    assert inked(page, "marks") > 0


@pytest.mark.parametrize("bounds", [None, (128, 0, 256, 256)])
def test_colours_lie_on_the_tiles_that_they_speak_of(
    opened: Open, tmp_path: Path, bounds: tuple[int, int, int, int] | None
) -> None:
    slide, seen = None, SEEN
    if bounds:
        slide = save_bounded_tiff(tmp_path / "slide.tiff", picture(), bounds)
        seen = np.where((np.arange(6) < 2)[None], GLASS, SEEN)  # two columns of tiles were never scanned
    path, maps = write(tmp_path / "report.html", slide, opacity=0.8)
    assert maps.state.tolist() == state_of(seen).ravel().tolist()
    page = opened(path)
    shown(page)
    corners = [(column * PX, row * PX) for row in range(4) for column in range(6)]
    at = [centre(page, x0 + PX / 2, y0 + PX / 2) for x0, y0 in corners]
    picked = pixels(page).astype(float)
    colours = np.array([class_colours(CLASSES)[name] for name in CLASSES])
    for (x, y), what, corner in zip(at, seen.ravel(), corners, strict=True):
        around = picked[int(y) - 20 : int(y) + 20, int(x) - 20 : int(x) + 20].reshape(-1, 3)
        if what == GLASS:
            assert around.min() > 235
        elif U_OF[what] > 0.3:
            hatch = around.max(axis=1) < 90
            assert 0.08 < hatch.mean() < 0.4
            assert (np.abs(around - PALETTE[what]).max(axis=1) < 12).mean() > 0.35
        else:
            wanted = 0.2 * PALETTE[what] + 0.8 * colours[CLASS_OF[what]]
            assert np.abs(around - wanted).max() < 8
        left, top = (bounds or (0, 0))[:2]
        page.mouse.move(x, y)
        expect(page.locator("#t-xy")).to_have_text(f"{corner[0] - left}, {corner[1] - top}")


def test_tile_edges_stay_sharp_and_the_hatch_as_wide_at_every_zoom(opened: Open, report: Path) -> None:
    page = opened(report, reduced_motion="reduce")
    page.select_option("#layer", "0")
    shares = []
    for key in ("0", "+", "-", "-"):
        page.evaluate("document.activeElement.blur()")
        press(page, key)
        drawn = np.concatenate([image.reshape(-1, 4) for image in canvases(page, "fill")])
        # 0.70 everywhere but where it is hidden: nothing in between
        assert len(np.unique(drawn[drawn[:, 3] == 255], axis=0)) == 1
        x, y = (int(value) for value in centre(page, 200, 50))
        area = pixels(page)[y - 10 : y + 10, x - 10 : x + 10].max(axis=2)
        shares.append(float((area < 100).mean()))
    assert max(shares) - min(shares) < 0.08


def test_the_same_page_works_over_a_servers_tiles(browser: Browser, tmp_path: Path) -> None:
    slide_path = save_svs(tmp_path / "slide.svs", picture())
    said: list[str] = []
    with open_slide(slide_path) as slide:
        maps = maps_of(slide)
        content = content_of(maps, facts(named_frame("qupath", slide.width0, slide.height0, None)))
        with serving(Viewer([Shown(slide, content)])) as viewer, browser.new_context() as context:
            page = context.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: said.append(request.url.replace(viewer.url, "").partition(":")[0]))
            page.goto(viewer.url)
            shown(page)
            press(page, "h")
            x, y = (int(value) for value in centre(page, 1.5 * PX, 0.5 * PX))
            assert np.abs(pixels(page)[y - 9 : y + 9, x - 9 : x + 9].astype(int) - PALETTE[SEEN[0, 1]]).max() < 5
            press(page, "h", "n")
            expect(page.locator("#said")).to_contain_text("Uncertain area 1 of")
        # the first page leads to the slide's own; pictures in the page itself are not always told
    assert {word for word in said if not word.startswith("0/")} - {"data"} == {""}
    assert sum(word.startswith("0/tiles/") for word in said) >= 2


def test_a_page_without_a_tile_shows_the_slide(opened: Open, tmp_path: Path) -> None:
    maps = replace(made_maps([0] * 6, [0] * 6, columns=3))
    slide = save_svs(tmp_path / "empty.svs", np.full((200, 300, 3), 255, dtype=np.uint8))
    path, _ = write(tmp_path / "report.html", slide, maps=maps)
    page = opened(path)
    shown(page)
    assert page.inner_text("#nothing") == "No tile was analysed: no tissue was found."
    press(page, "h", "n", "p", "c", "+", "0", "Escape")
    tiny = replace(made_maps([], [], columns=1), width0=50, height0=20)
    slide = save_svs(tmp_path / "tiny.svs", np.full((20, 50, 3), 255, dtype=np.uint8), tile=16)
    path, _ = write(tmp_path / "tiny" / "report.html", slide, maps=tiny)
    page = opened(path)
    shown(page)
    page.mouse.move(*centre(page, 25, 10))
    press(page, "n", "h")


def test_without_scripts_the_numbers_stand(opened: Open, report: Path) -> None:
    page = opened(report, java_script_enabled=False)
    assert page.locator("td[data-cells='0']").inner_text() == "11"
    assert "Out of domain" in page.inner_text(".out")


@pytest.mark.parametrize("options", [{}, {"viewport": {"width": 400, "height": 800}}, {"forced_colors": "active"}])
def test_it_is_accessible_and_no_wider_than_the_window(opened: Open, report: Path, options: dict[str, Any]) -> None:
    page = opened(report, **options)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    smallest = page.evaluate(
        """Math.min(...[...document.querySelectorAll("body *")].filter(one => one.offsetWidth &&
        [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
        .map(one => parseFloat(getComputedStyle(one).fontSize)))"""
    )
    assert smallest >= 14
    for layer in ("class", "0"):
        page.select_option("#layer", layer)
        press(page, "n")
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []


def test_the_tab_key_reaches_every_control_in_order(opened: Open, report: Path) -> None:
    page = opened(report)
    reached = []
    for _ in range(26):
        press(page, "Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.class || ''"))
    wanted = ["map", "in", "out", "whole", "toggle", "layer", "opacity", "regions", "0", "1", "2", "threshold", "next"]
    assert [name for name in reached if name in wanted] == wanted
