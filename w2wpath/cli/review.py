"""``w2wpath review``: tiles out to a reviewer, verdicts back in; nothing is deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2wpath.cli import options
from w2wpath.cli.console import table, tell, tell_json, warn
from w2wpath.cli.undo import signer

if TYPE_CHECKING:
    from w2wpath.tiles.store import TileStore, TileTable
    from w2wpath.w2wnet.audit import Score
    from w2wpath.w2wnet.metrics import Estimate
    from w2wpath.w2wnet.review_qupath import Exported
    from w2wpath.w2wnet.verdicts import Verdict

NAME = "review"
NEXT = "w2wpath train -o model/"
Who = Annotated[str | None, typer.Option(help="Who says so. [default: the name you are logged in with]")]

app = typer.Typer(help="Give tiles to a reviewer and take verdicts back.", no_args_is_help=True)


@app.command("export")
def export_tiles(
    store: options.Store = Path("tiles.zarr"),
    audit: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="A blinded mix of so many kept and excluded tiles instead.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, metavar="N", help="Most doubtful tiles.")] = 200,
    run: Annotated[str | None, typer.Option(help="Run of clean. [default: the newest]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the audit's draw.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the files. [default: the run's, clean/<run>/]")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write the doubtful tiles for QuPath: a GeoJSON for each slide, classes are the labels.

    In QuPath, give a tile another class to relabel it, delete it to exclude it, and export all objects again. With
    --audit, a table too, and nothing that tells what was decided.
    """
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.audit import draw_sample, write_audit_csv
    from w2wpath.w2wnet.ledger import read_decisions
    from w2wpath.w2wnet.review_qupath import (
        AUDIT,
        REVIEW,
        doubtful,
        export_name,
        export_of,
        write_geojsons,
        write_sidecar,
    )

    opened = TileStore.open(store)
    tiles = opened.table()
    # an audit is of what the run decided, whatever reviewers have said since
    decisions = read_decisions(opened, tiles, run, with_verdicts=audit is None)
    kind = REVIEW if audit is None else AUDIT
    name, home = export_name(kind), opened.path.parent / "clean"
    folder = (out or home / decisions.run) / name
    if audit is None:
        rows = doubtful(decisions, most)
        exported = export_of(name, kind, opened, tiles, decisions.run, rows)
    else:
        sample = draw_sample(decisions, audit, seed)
        rows = sample.rows
        exported = export_of(
            name, kind, opened, tiles, decisions.run, rows, strata=sample.strata, seed=seed, sizes=sample.sizes
        )
        if len(rows) < audit:
            warn(f"{audit} tiles were asked for; there are {len(rows)} that are kept or excluded.")
    folder.mkdir(parents=True, exist_ok=True)
    sidecar = write_sidecar(home, exported)
    files = write_geojsons(folder, opened, tiles, rows, name, decisions if audit is None else None)
    if audit is not None:
        files.insert(0, folder / f"{name}.csv")
        write_audit_csv(files[0], tiles, rows)
    if as_json:
        tell_json(
            {"export": name, "run": decisions.run, "tiles": len(rows), "files": files, "record": str(sidecar)},
        )
        return
    tell(f"{len(rows)} tiles of run {decisions.run} in {len(files)} file(s): {folder}")
    if audit is not None:
        tell(f"key, which is not for the reader: {sidecar}")
    tell("Next: w2wpath review import FILE")


@app.command("import")
def import_verdicts(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV, or GeoJSON exported from QuPath.")],
    who: Who = None,
    store: options.Store = Path("tiles.zarr"),
    as_json: options.Json = False,
) -> None:
    """Take verdicts in: review.csv, the table that report.html downloads, or an export that was edited in QuPath.

    All files of one call are one batch. A verdict outlives every later run of clean.
    """
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.audit import score
    from w2wpath.w2wnet.verdicts import append_verdicts

    opened = TileStore.open(store)
    verdicts, audits, seen = _read(files, opened, opened.table())
    batch = append_verdicts(opened, verdicts, signer(who), ", ".join(file.name for file in files))
    counts = Counter(one.verdict for one in verdicts)
    scores = {one.name: score(one, verdicts) for one in audits}
    if as_json:
        tell_json(
            {"batch": batch, "verdicts": counts, **seen, "audits": {name: _facts(s) for name, s in scores.items()}}
        )
        return
    tell(f"{len(verdicts)} verdict(s): {_counted(counts)}")
    if seen["unchanged"] or seen["strangers"]:
        tell(f"{seen['unchanged']} tile(s) unchanged; {seen['strangers']} object(s) that are not ours, passed over")
    for name, found in scores.items():
        _tell_score(name, found)
    tell(f"batch {batch}; `w2wpath review undo {batch}` takes it back.")
    tell(f"Next: {NEXT}")


@app.command("undo")
def undo_verdicts(
    batch: Annotated[str, typer.Argument(help="Batch of verdicts, as `w2wpath review list` names it.")],
    who: Who = None,
    store: options.Store = Path("tiles.zarr"),
    as_json: options.Json = False,
) -> None:
    """Let a batch of verdicts not count; undoing the undo lets it count again. Nothing is deleted."""
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.verdicts import read_verdicts, undo_batch

    opened = TileStore.open(store)
    word = undo_batch(opened, batch, signer(who))
    counting = len(read_verdicts(opened))
    if as_json:
        tell_json({"batch": word, "undoes": batch, "verdicts": counting})
        return
    tell(f"batch {batch} does not count any more; {counting} verdict(s) do.")
    tell(f"batch {word}; `w2wpath review undo {word}` takes that back.")
    tell(f"Next: {NEXT}")


@app.command("list")
def list_batches(store: options.Store = Path("tiles.zarr"), as_json: options.Json = False) -> None:
    """Show every batch of verdicts, oldest first."""
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.verdicts import batches

    found = batches(TileStore.open(store))
    counts = [Counter(verdict.verdict for verdict in one.verdicts) for one in found]
    if as_json:
        facts = ("name", "when", "who", "source", "undoes", "counts")
        rows = zip(found, counts, strict=True)
        tell_json({"batches": [{**{key: getattr(one, key) for key in facts}, "verdicts": own} for one, own in rows]})
        return
    if not found:
        tell("no verdicts yet. Next: w2wpath review export")
        return
    lines = [
        (
            one.name,
            one.when,
            one.who,
            f"undo {one.undoes}" if one.undoes else one.source,
            _counted(own),
            _yes(one.counts),
        )
        for one, own in zip(found, counts, strict=True)
    ]
    tell(table(["batch", "when", "who", "from", "verdicts", "counts"], lines))


def _read(
    files: Sequence[Path], store: TileStore, tiles: TileTable
) -> tuple[list[Verdict], list[Exported], dict[str, int]]:
    """Return verdicts of all files, the audits that they answer, and counts of what a GeoJSON held besides."""
    from w2wpath.w2wnet.audit import audit_of_csv
    from w2wpath.w2wnet.review import read_verdicts_csv, tiles_in_csv
    from w2wpath.w2wnet.review_qupath import AUDIT, read_edited, read_sidecars

    exports = read_sidecars(store.path.parent / "clean")
    verdicts: list[Verdict] = []
    audits: dict[str, Exported] = {}
    seen = {"unchanged": 0, "strangers": 0}
    for file in files:
        if file.suffix.lower() == ".csv":
            verdicts += read_verdicts_csv(file, tiles)
            audit = audit_of_csv(file, tiles_in_csv(file), exports)
            used: tuple[Exported, ...] = () if audit is None else (audit,)
        else:
            edited = read_edited(file, tiles, exports)
            verdicts += edited.verdicts
            used = edited.exports
            seen = {name: count + getattr(edited, name) for name, count in seen.items()}
        audits |= {one.name: one for one in used if one.kind == AUDIT}
    return verdicts, list(audits.values()), seen


def _counted(counts: Counter[str]) -> str:
    from w2wpath.w2wnet.verdicts import WORDS

    return ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])


def _yes(counts: bool) -> str:
    return "yes" if counts else "no"


def _facts(found: Score) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found)


def _tell_score(name: str, found: Score) -> None:
    tell(f"{name}: {found.answered} of {found.asked} tiles have a verdict")
    tell(f"  excluded tiles that the reader rejects too: {_share(found.precision)}")
    tell(f"  kept tiles that the reader rejects: {_share(found.missed)}")
    known = found.sensitivity == found.sensitivity
    tell(f"  estimated share of spurious tiles found: {f'{found.sensitivity:.1%}' if known else 'not known'}")


def _share(one: Estimate) -> str:
    return f"{one.value:.1%} (95 % interval {one.low:.1%} to {one.high:.1%}, {one.n} tiles)" if one.n else "none read"
