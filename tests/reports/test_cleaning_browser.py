"""The report in a browser: offline, without an error, judged by keyboard, and accessible."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser import CHROMIUM, browser
from tests.decided import decided
from tests.reports.conftest import CLASSES, RUN, made_decisions, made_store
from tests.w2wnet.conftest import add_slide, cut_up, new_store, tissue
from w2wpath.reports.cleaning import write_report
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS

if not CHROMIUM.exists():
    pytest.skip(f"the reports are opened with {CHROMIUM}, which is not installed", allow_module_level=True)

__all__ = ["browser"]  # a fixture is found where its name stands

Open = Callable[..., Page]
ALLOWED = ("data:", "blob:")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 26 tiles with every section, in which every name tries to break out of the page."""
    folder = tmp_path_factory.mktemp("report")
    store = made_store(folder / "tiles.zarr")
    decisions = made_decisions(store)
    facts = {
        "stopped": ["patient <b>: 6 of 10 tiles excluded"],
        "controls": {"flip": {"planted": 30, "found": 24, "low": 0.627, "high": 0.905}},
        "duplicates": [{"hash": "aa", "tiles": [["<s>1</s>", 0, 64, "p1"], ["s2", 128, 0, "p2"]]}],
        "duplicate_tiles": 2,
        "fold_table": [["p1", 0], ["p2", 1]],
        "store_hash": "ab" * 32,
    }
    made = replace(decisions, about={**decisions.about, **facts})
    return write_report(folder, store, store.table(), made)


@pytest.fixture(scope="module")
def large_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report that shows 224 tiles of 64 px."""
    folder = tmp_path_factory.mktemp("large")
    store, n = new_store(folder / "tiles.zarr", 64), 256
    add_slide(store, "s", np.zeros(n, dtype=int), np.arange(n) % 3, ["a", "b"], cut_up(tissue(1024), 64))
    kinds = np.array([REASONS.index(name) for name in ("label", "uncertain", "focus", "background")])
    stop = {"reason": "stable", "epoch": 1, "deltas": [0.5], "stds": [None]}
    about = {
        "folds": [{"fold": 0, "stop": stop, "threshold": 0.2, "test_accuracy": 0.9}],
        "settings": {"std_below": 0.01, "track_every": 1},
    }
    group = np.minimum(np.arange(n) // 44, 4)  # 44 of each reason; the rest is kept
    state = np.where(group < 4, EXCLUDED, KEPT)
    reason = np.where(group < 4, kinds[np.minimum(group, 3)], 0)
    return write_report(
        folder, store, store.table(), decided(store.table(), about, state=state, reason=reason, score=1.0)
    )


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Open a page in a window of its own, offline; in the end it has asked for nothing and complained of nothing."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_page(path: Path, init: str = "", **options: Any) -> Page:
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        if init:
            page.add_init_script(init)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith((*ALLOWED, "file:///"))] == []
    assert {os.path.basename(url) for url in asked if url.startswith("file:")} == {"report.html"}


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def ids(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all("figure.tile", "all => all.map(one => one.dataset.id)")
    return found


def focused(page: Page) -> str | None:
    """Return the id of the tile that has the focus."""
    found: str | None = page.evaluate("document.activeElement.closest('figure.tile')?.dataset.id ?? null")
    return found


def counter(page: Page) -> str:
    return page.inner_text("#count")


def verdicts(page: Page) -> dict[str, str]:
    """Return what stands on the tiles that have a verdict."""
    script = "all => Object.fromEntries(all.map(one => [one.dataset.id, one.querySelector('.mark').textContent]))"
    found: dict[str, str] = page.eval_on_selector_all("figure.tile[data-verdict]", script)
    return found


def test_every_picture_is_shown(opened: Open, report: Path, large_report: Path) -> None:
    for path, tiles in ((report, 26), (large_report, 224)):
        page = opened(path)
        widths = page.eval_on_selector_all("figure img", "all => all.map(image => image.naturalWidth)")
        assert page.locator("figure.tile img").count() == tiles
        assert len(widths) > tiles
        assert min(widths) > 0


def test_tiles_are_judged_by_keys_undone_and_downloaded(opened: Open, report: Path) -> None:
    page = opened(report)
    tiles = ids(page)
    given = page.eval_on_selector_all("figure.tile", "all => all.map(one => Number(one.dataset.label))")
    assert counter(page) == "0 of 26 judged"
    press(page, "n")
    assert focused(page) == tiles[0]
    other = 1 - given[2]
    press(page, "k", "E", str(other + 1), str(given[3] + 1), "e", "u", "ArrowRight", "k")
    # the label that a tile has is no other label; the undone tile has the focus again
    labels = ["✓ keep", "✗ exclude", f"→ {CLASSES[other]}", "✓ keep", "✓ keep"]
    judged = [*tiles[:4], tiles[5]]
    assert verdicts(page) == dict(zip(judged, labels, strict=True))
    assert counter(page) == "5 of 26 judged"
    press(page, "n")  # on from the next one, which is left out
    assert focused(page) == tiles[7]
    for keys in ("s", "Control+s"):
        with page.expect_download() as download:
            press(page, keys)
        assert download.value.suggested_filename == f"review-{RUN}.csv"
        with open(download.value.path(), newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
        said = [("keep", ""), ("exclude", ""), ("relabel", CLASSES[other]), ("keep", ""), ("keep", "")]
        # with the label that was shown, so that a tile that is relabelled meanwhile is asked again
        shown = [CLASSES[given[i]] for i in (0, 1, 2, 3, 5)]
        assert rows == [
            ["tile_id", "label", "verdict", "class"],
            *([tile, label, *answer] for tile, label, answer in zip(judged, shown, said, strict=True)),
        ]
    assert page.inner_text("#status") == f"5 verdicts in review-{RUN}.csv"


def test_verdicts_survive_a_reload_and_only_those_that_make_sense(opened: Open, report: Path) -> None:
    page = opened(report)
    tiles = ids(page)
    press(page, "n", "k", "e")
    before = verdicts(page)
    page.evaluate(
        f"""() => {{
            const kept = JSON.parse(localStorage.getItem("w2wpath-review:{RUN}"));
            const odd = [["strange", ["keep", ""]], ["{tiles[5]}", ["drop", ""]], ["{tiles[6]}", ["relabel", "none"]]];
            localStorage.setItem("w2wpath-review:{RUN}", JSON.stringify([...kept, ...odd, 3]));
        }}"""
    )
    page.reload()
    assert verdicts(page) == before == {tiles[0]: "✓ keep", tiles[1]: "✗ exclude"}
    press(page, "n")
    assert focused(page) == tiles[2]
    press(page, "ArrowLeft", "Delete")
    assert list(verdicts(page)) == [tiles[0]]
    page.evaluate(f"""localStorage.setItem("w2wpath-review:{RUN}", "no json")""")
    page.reload()
    assert counter(page) == "0 of 26 judged"


def test_where_nothing_can_be_kept_the_page_says_so_and_works(opened: Open, report: Path) -> None:
    refuse = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused'); } });"
    page = opened(report, refuse)
    assert page.locator("#unkept").is_visible()
    press(page, "n", "k")
    assert counter(page) == "1 of 26 judged"


def test_keys_move_enlarge_and_explain(opened: Open, report: Path) -> None:
    page = opened(report, viewport={"width": 700, "height": 700})
    tiles = ids(page)
    press(page, "k", "1", "ArrowDown")
    assert (focused(page), counter(page)) == (None, "0 of 26 judged")  # no tile is judged that is not looked at
    press(page, "n", "ArrowDown")
    below = focused(page)
    assert below not in (None, tiles[0], tiles[1])
    box = page.locator(f"[data-id='{below}'] img").bounding_box()
    first = page.locator(f"[data-id='{tiles[0]}'] img").bounding_box()
    assert box is not None
    assert first is not None
    assert (box["x"], box["y"] > first["y"]) == (first["x"], True)
    press(page, "ArrowUp", "j", "j", "h", "Enter", "ArrowRight", "Escape")
    # a dialog says that it is closed in a task of its own, after the key
    expect(page.locator(f"[data-id='{tiles[2]}'] button")).to_be_focused()
    press(page, "ArrowLeft", "Enter")
    assert page.inner_text("#view-title") == "Tile 2 of 26"
    press(page, "e")
    assert page.inner_text("#view-title") == "Tile 3 of 26"
    press(page, "ArrowLeft")
    assert page.inner_text("#view-verdict") == "✗ exclude"
    shown = page.eval_on_selector("#view-image", "image => image.src")
    assert shown == page.eval_on_selector(f"[data-id='{tiles[1]}'] img", "image => image.src")
    press(page, "Enter")
    assert not page.locator("#view").is_visible()
    assert focused(page) == tiles[1]
    press(page, "?")
    assert page.locator("#help").is_visible()
    press(page, "k", "Escape")
    assert not page.locator("#help").is_visible()
    assert counter(page) == "1 of 26 judged"


def test_a_mouse_does_it_too(opened: Open, report: Path) -> None:
    page = opened(report)
    tiles = ids(page)
    page.click(f"[data-id='{tiles[4]}'] button")
    page.click("#view [data-do=keep]")
    page.click("#view [data-do=close]")
    page.click("#review [data-do=next]")
    page.click("#review [data-do=next]")
    assert (focused(page), verdicts(page)) == (tiles[7], {tiles[4]: "✓ keep"})
    page.click("#review [data-do=undo]")
    assert (focused(page), verdicts(page)) == (tiles[4], {})


def test_a_table_is_sorted_by_the_head_of_a_column(opened: Open, large_report: Path) -> None:
    page = opened(large_report)
    table = page.locator("table", has=page.locator("caption", has_text="By reason"))
    numbers = "rows => rows.map(row => Number(row.cells[1].dataset.v))"
    assert table.locator("tbody tr").evaluate_all(numbers) == [44, 44, 44, 44, 0, 0]
    head = table.locator("thead th").nth(1)
    head.locator("button").focus()
    press(page, "Enter")
    assert table.locator("tbody tr").evaluate_all(numbers) == [0, 0, 44, 44, 44, 44]
    assert head.get_attribute("aria-sort") == "ascending"
    press(page, "Enter")
    assert table.locator("tbody tr").evaluate_all(numbers) == [44, 44, 44, 44, 0, 0]
    assert head.get_attribute("aria-sort") == "descending"
    table.locator("thead button").nth(0).click()
    names = table.locator("tbody tr").evaluate_all("rows => rows.map(row => row.cells[0].textContent)")
    assert names == sorted(names)
    assert head.get_attribute("aria-sort") is None


def test_two_hundred_tiles_are_judged_and_no_key_waits(opened: Open, large_report: Path) -> None:
    page = opened(large_report)
    page.evaluate(
        """() => {
            window.took = [];
            let begun = 0;
            addEventListener("keydown", () => { begun = performance.now(); }, true);
            addEventListener("keydown", () => {
                document.body.getBoundingClientRect();  // lay out what the key has changed
                window.took.push(performance.now() - begun);
            });
        }"""
    )
    press(page, "n", *("ke2k" * 50))
    assert counter(page) == "200 of 224 judged"
    took = page.evaluate("window.took")
    assert len(took) == 201
    assert np.mean(took) < 50


def test_without_scripts_it_is_a_plain_report(opened: Open, report: Path) -> None:
    page = opened(report, java_script_enabled=False)
    assert page.locator("figure.tile img").count() == 26
    assert page.locator("button:visible").count() == 0
    assert not page.locator("#review").is_visible()


@pytest.mark.parametrize("width", [1280, 400])
def test_it_is_accessible_and_no_wider_than_the_window(opened: Open, report: Path, width: int) -> None:
    page = opened(report, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for keys in ([], ["n", "e", "k", "2", "Enter"], ["Enter", "?"])[: 3 if width > 1000 else 1]:
        press(page, *keys)
        found = Axe().run(page).response["violations"]
        grave = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert grave == []
