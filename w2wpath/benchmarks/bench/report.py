"""The report of a grid: ``bench.md`` to read, ``bench.csv`` and ``bench.json`` with every figure, pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from w2wpath.benchmarks.bench.claims import claim_table
from w2wpath.benchmarks.bench.expected import check_expected, figures_of, read_expected, write_expected
from w2wpath.benchmarks.bench.gallery import draw_gallery
from w2wpath.benchmarks.bench.grid import complete, open_sets
from w2wpath.benchmarks.bench.pictures import draw_pictures
from w2wpath.benchmarks.bench.published import (
    PUBLISHED,
    PUBLISHED_HEAD,
    published_accuracy,
    published_removal,
    stand_ins,
)
from w2wpath.benchmarks.bench.results import Removal, Results, gather
from w2wpath.benchmarks.noise.manifest import KINDS
from w2wpath.benchmarks.noise.sets import FULL_SIZE, N_CLASSES, SIDE_PX, recipe_of
from w2wpath.benchmarks.sources.source import SPLITS
from w2wpath.benchmarks.study.plain import cell, chosen_quantiles, finite, grid
from w2wpath.benchmarks.study.resampling import Figure
from w2wpath.benchmarks.study.run import refuse_rows, refuse_without_packages
from w2wpath.config import BenchSettings, CleanSettings, load
from w2wpath.errors import RunError
from w2wpath.progress import Progress
from w2wpath.provenance import record, write_whole


@dataclass(frozen=True)
class Done:
    """What a benchmark wrote, what failed with the reason, and what is not there yet."""

    out: Path
    files: tuple[Path, ...]
    failed: Mapping[str, str]
    missing: Mapping[str, tuple[str, ...]]


def conduct(
    toml: Path,
    out: Path,
    data: Path | None,
    workers: int,
    progress: Progress,
    *,
    backbone: str | None = None,
    images: int | None = None,
    test_images: int | None = None,
    expect: Path | None = None,
    check: Path | None = None,
    scheduler: str | None = None,
) -> Done:
    """Make what is missing of the grid in `toml`, then write its report into folder `out`; with no `data`, only that.

    Parameters
    ----------
    backbone, images, test_images
        Others than those of the TOML.
    expect
        Write the figures there as those that are expected from now on.
    check
        Compare the figures with those expected there, after the report is written.
    scheduler
        Address of a dask.distributed scheduler whose workers see the same files and train the cells.

    Raises
    ------
    W2wError
        The settings are wrong, not one data set is there, or figures differ from those expected.
    """
    bench = load(BenchSettings, "bench", toml, {"images": images, "test_images": test_images})
    settings = load(CleanSettings, "clean", toml, {"backbone": backbone})
    rows = bench.rows + bench.rows_once
    refuse_rows(rows, settings, truth=True, table="bench")
    bases = {recipe_of(name).base for name in bench.sets}
    if data is not None:
        refuse_without_packages(rows)
        # torch enters here: a report needs none
        from w2wpath.w2wnet.nets.backbones import build

        for base in bases:
            build(settings.backbone, N_CLASSES, SIDE_PX[base], stem=settings.stem, weights=settings.weights)
    if check is not None and check != expect:
        read_expected(check)  # hours before it is needed, so that a wrong path costs nothing
    entries, failed = open_sets(bench, settings, data, out, workers=workers, progress=progress)
    if not entries:
        raise RunError(f"{out}: not one data set is there. " + next(iter(failed.values()), ""))
    if data is not None:
        failed |= complete(entries, workers=workers, progress=progress, scheduler=scheduler)
    results = gather(entries)
    files = [*_write(out, bench, settings, results, failed), *draw_pictures(out, results), *draw_gallery(out, entries)]
    if expect is not None:
        write_expected(expect, results)
    if check is not None:
        progress.say(f"{check}: all of its {check_expected(check, results)} figures are met")
    return Done(out, tuple(files), failed, results.missing)


def _write(
    out: Path, bench: BenchSettings, settings: CleanSettings, results: Results, failed: Mapping[str, str]
) -> list[Path]:
    texts = {
        "bench.md": "\n".join(_markdown(bench, settings, results, failed)) + "\n",
        "bench.csv": _csv(results),
        "bench.json": _json(bench, settings, results, failed),
        "cards.jsonl": "".join(json.dumps(card, sort_keys=True) + "\n" for card in results.cards),
    }
    for name, text in texts.items():
        write_whole(out / name, text)
    return [out / name for name in texts]


# every figure ------------------------------------------------------------------------------------------------------


def _csv(results: Results) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("set", "table", "row", "figure", "value", "low", "high", "std", "n"))
    for key, figure in figures_of(results):
        numbers = (figure.value, figure.low, figure.high, figure.std)
        writer.writerow([*key, *("" if np.isnan(value) else f"{value:.6g}" for value in numbers), figure.n])
    return file.getvalue()


def _json(bench: BenchSettings, settings: CleanSettings, results: Results, failed: Mapping[str, str]) -> str:
    about = record("bench", {"bench": bench.model_dump(mode="json"), "clean": settings.model_dump(mode="json")})
    found = {
        "about": about,
        "sets": results.about,
        "figures": [
            {**dict(zip(("set", "table", "row", "figure"), key, strict=True)), **asdict(figure)}
            for key, figure in figures_of(results)
        ],
        "removal": {
            name: {row: {side: asdict(one) for side, one in sides.items()} for row, sides in rows.items()}
            for name, rows in results.removal.items()
        },
        "claims": [asdict(claim) for claim in results.claims],
        "curves": results.curves,
        "missing": results.missing,
        "failed": failed,
    }
    return json.dumps(finite(found), indent=1) + "\n"


# markdown ----------------------------------------------------------------------------------------------------------


def _markdown(
    bench: BenchSettings, settings: CleanSettings, results: Results, failed: Mapping[str, str]
) -> Iterator[str]:
    yield "# Benchmark"
    yield ""
    yield (
        f"{settings.backbone}, at most {settings.max_epochs} epochs of a Wise, {settings.draws} draws, "
        f"{bench.classifier_epochs} epochs of every classifier; seeds {', '.join(map(str, bench.seeds))}, rows "
        f"{', '.join(bench.rows)}; on the first seed also {', '.join(bench.rows_once) or 'none'}; faults: {bench.mode}."
    )
    exact = ", ".join(bench.exact) or "no set"
    yield f"Row paper follows the moving average of the training forwards; exact MC passes on: {exact}."
    yield (
        "Figures are means over seeds; intervals of 95 % by a bootstrap over groups of images (mean of the seeds' "
        "intervals), widened by what differs between seeds; ± the std over seeds. aum and small-loss are told the true "
        "number of spurious images; the best of Köhler's thresholds is chosen by its result."
    )
    for told, why in failed.items():
        yield f"**Failed** ({told}): {' '.join(why.split())}"
    for told, rows in results.missing.items():
        yield f"**Not there yet** ({told}): {', '.join(rows)}."
    yield from _counts(results)
    yield from _headline(results)
    yield from _removal(results)
    yield from _kinds_in_test(results)
    yield from _accuracy(results)
    yield from _claims(results)
    yield from _cost(results)
    yield from ("", "## The paper's own figures", "", PUBLISHED)


def _stand_ins(results: Results) -> str:
    found = stand_ins(results.about)
    return f" {'; '.join(found)}." if found else ""


def _section(results: Results, title: str, text: str) -> Iterator[str]:
    yield from ("", f"## {title}", "", f"{text}{_stand_ins(results)}", "")


def _counts(results: Results) -> Iterator[str]:
    yield from _section(
        results,
        "Data sets (Table 1)",
        "Images made, good + spurious; in brackets the paper's. N % is of the originals.",
    )
    body = []
    for name, about in results.about.items():
        cells, recipe = [name], recipe_of(name)
        for split in SPLITS:
            counts, full = about["splits"][split], FULL_SIZE[recipe.base][split]
            good = counts["images"] - counts["spurious"]
            papers = f"{full} + {recipe.spurious(split, full)}"
            cells += [f"{good} + {counts['spurious']} ({papers})", f"{100 * counts['share_of_set']:.1f} %"]
        kinds = about["splits"]["train"]["kinds"] or about["splits"]["test"]["kinds"]
        body.append([*cells, ", ".join(f"{kind} {count}" for kind, count in kinds.items()) or "–"])
    yield from grid(["", "training", "spurious of the set", "test", "spurious of the set", "kinds"], body)


def _headline(results: Results) -> Iterator[str]:
    yield from _section(
        results,
        "Which score finds what (training images)",
        "AUROC against the good images / sensitivity at 5 % of them removed / average precision. u is the paper's.",
    )
    for name, kinds in results.headline.items():
        if not kinds:
            continue
        scores = list(dict.fromkeys(score for named in kinds.values() for score in named))
        yield from ("", f"**{name}**", "")
        body = [[kind, *(_found(named.get(score)) for score in scores)] for kind, named in kinds.items()]
        yield from grid(["", *scores], body)


def _found(figures: Mapping[str, Figure] | None) -> str:
    if figures is None:
        return "–"
    area, at, precision = (figures[name] for name in ("AUROC", "sensitivity at 5 %", "AP"))
    return f"{area} / {at.value:.2f} / {precision.value:.2f}"


def _removal(results: Results) -> Iterator[str]:
    yield from _section(
        results,
        "Removed (Fig. 3)",
        "Share of the spurious and of the good images; mean over classes ± std between classes (class: given label). "
        "In test no label is read, so a wrong label cannot be seen there.",
    )
    body = [
        [
            name,
            row,
            *(_rates(sides.get(side), part) for side in ("training", "test") for part in ("spurious", "good")),
            published_removal(name),
        ]
        for name, rows in results.removal.items()
        for row, sides in rows.items()
    ]
    head = ["", "", "training, spurious", "training, good", "test, spurious", "test, good"]
    yield from grid([*head, PUBLISHED_HEAD], body)


def _kinds_in_test(results: Results) -> Iterator[str]:
    """Yield what is flagged of each kind in test, where no label is read."""
    told = {
        (name, row): {
            **{what.removeprefix("excluded "): one for what, one in sides["test"].items()},
            "good": sides["test"]["false removals"],
        }
        for name, rows in results.sides.items()
        for row, sides in rows.items()
    }
    present = [kind for kind in (*KINDS, "good") if any(kind in figures for figures in told.values())]
    body = [[name, row, *(cell(figures.get(kind)) for kind in present)] for (name, row), figures in told.items()]
    yield from _section(
        results,
        "Flagged in test, by kind",
        "Share of each kind above the threshold of the row's settings, beside that of the good images: a kind that no "
        "more is flagged of is not seen.",
    )
    yield from grid(["", "", *present], body)


def _rates(removal: Removal | None, part: str) -> str:
    if removal is None:
        return "–"
    mean, std = getattr(removal, part)
    return "–" if np.isnan(mean) else f"{mean:.3f} ± {std:.3f}"


def _accuracy(results: Results) -> Iterator[str]:
    chosen = {name: chosen_quantiles(tables.get("accuracy", {})) for name, tables in results.tables.items()}
    told = "".join(f" {name}:{text}" for name, text in chosen.items() if text)
    yield from _section(results, "Accuracy on good test images (Fig. 5)", f"At full coverage.{told}")
    rows = list(dict.fromkeys(row for tables in results.tables.values() for row in tables.get("accuracy", {})))
    yield from _by_set(results, rows, "accuracy", "accuracy", published_accuracy)
    yield from _section(
        results,
        "At equal coverage",
        "Every row leaves out what it is least sure of until it covers what recommended does, by its own uncertainty.",
    )
    yield from _by_set(results, rows, "accuracy", "accuracy at equal coverage")
    yield from _section(results, "Gain captured", "(A - A of all) / (A of oracle - A of all).")
    yield from _by_set(results, [row for row in rows if row != "all"], "gain", "gain captured")


def _by_set(
    results: Results, rows: Sequence[str], table: str, what: str, published: Callable[[str], str] | None = None
) -> Iterator[str]:
    names = list(results.tables)
    body = []
    for row in rows:
        cells = [results.tables[name].get(table, {}).get(row, {}).get(what) for name in names]
        if any(one is not None for one in cells):
            body.append([row, *(cell(one) for one in cells), *([published(row)] if published else [])])
    yield from grid(["", *names, *([PUBLISHED_HEAD] if published else [])], body)


def _claims(results: Results) -> Iterator[str]:
    yield from _section(results, "What the paper says", "Held against the figures above.")
    yield from claim_table(results.claims)


def _cost(results: Results) -> Iterator[str]:
    total = sum(card["minutes"] for card in results.cards)
    yield from _section(
        results,
        "What it took",
        f"{len(results.cards)} cells, {total:.0f} minutes of work; cards.jsonl has each of them.",
    )
    kinds: dict[str, list[dict[str, Any]]] = {}
    for card in results.cards:
        kinds.setdefault(card["cell"].rsplit("-f", 1)[0], []).append(card)
    body = []
    for kind, cards in kinds.items():
        reasons = ", ".join(sorted({f"{card['stop_reason']}" for card in cards}))
        trained = [card for card in cards if not card.get("same_as")]  # a copy took nothing
        mean = sum(card["minutes"] for card in trained) / max(len(trained), 1)
        draws = "–" if not kind.startswith("wise") else ", ".join(sorted({str(card["draws"]) for card in cards}))
        named = [card["labels_named"] for card in cards if card["labels_named"] is not None]
        share = f"{min(named):.2f} to {max(named):.2f}" if named else "–"
        body.append([kind, str(len(cards)), f"{mean:.1f}", reasons, draws, share])
    yield from grid(["cell", "number", "minutes each", "ended by", "draws", "given labels named"], body)
