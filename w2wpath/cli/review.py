"""``w2wpath review``: what people say of tiles: out, back, and never lost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2wpath.cli import options
from w2wpath.cli.console import table, tell, tell_json, warn
from w2wpath.cli.undo import Who, person
from w2wpath.errors import ReviewError

if TYPE_CHECKING:
    from w2wpath.w2wnet.audit import Scored

NAME = "review"
QUPATH = (".geojson", ".gz", ".zip", ".json")
app = typer.Typer(help="Verdicts of people on tiles: export, import, audit, list, undo.", no_args_is_help=True)


@app.command("export")
def export_(
    store: options.Store = Path("tiles.zarr"),
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to make. [default: review, or audit with --audit]")
    ] = None,
    run_name: Annotated[str | None, typer.Option("--run", help="Run of clean. [default: the newest]")] = None,
    audit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Instead, N tiles at random, kept and excluded, blinded.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Most doubtful tiles to write for QuPath.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the draw of an audit.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Write review.csv with every tile, and the doubtful ones for QuPath; with --audit, a blinded random mix.

    Fill in the columns verdict (keep, exclude, relabel) and class; or, in QuPath, give tiles another class, delete
    them, and export the objects as GeoJSON. Either comes back with review import.
    """
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.ledger import read_decisions
    from w2wpath.w2wnet.review import write_review_csv
    from w2wpath.w2wnet.review_qupath import doubtful, write_review_qupath

    opened = TileStore.open(store)
    tiles = opened.table()
    folder = out or Path("review" if audit is None else "audit")
    if audit is not None:
        _export_audit(opened, folder, run_name, audit, seed, as_json)
        return
    decisions = read_decisions(opened, tiles, run_name)
    rows = doubtful(tiles, decisions, most)
    _make(folder)
    write_review_csv(folder / "review.csv", tiles, decisions)
    files = write_review_qupath(folder, opened, tiles, rows, run=decisions.run, decisions=decisions)
    if as_json:
        tell_json({"run": decisions.run, "out": str(folder), "doubtful": len(rows), "files": list(map(str, files))})
        return
    tell(
        f"{folder / 'review.csv'}: every tile of run {decisions.run}; fill in verdict (keep, exclude, relabel), class."
    )
    tell(f"{folder}: {len(rows)} doubtful tiles for QuPath in {len(files)} file(s) SLIDE.review.geojson.")
    tell("Next: w2wpath review import FILE")


def _export_audit(opened: Any, folder: Path, run_name: str | None, audit: int, seed: int, as_json: bool) -> None:
    from w2wpath.w2wnet.audit import draw_audit, write_audit, write_key
    from w2wpath.w2wnet.ledger import new_run, read_decisions
    from w2wpath.w2wnet.review_qupath import write_review_qupath

    tiles = opened.table()
    # it is the run that is audited, not what people made of it
    drawn = draw_audit(read_decisions(opened, tiles, run_name, with_verdicts=False), new_run(), audit, seed)
    key = opened.path.parent / "clean" / drawn.run / f"audit-{drawn.name}.json"
    _make(folder)
    key.parent.mkdir(parents=True, exist_ok=True)
    write_key(key, tiles, drawn)
    write_audit(folder / "audit.csv", tiles, drawn)
    write_review_qupath(folder, opened, tiles, drawn.rows, run=drawn.run, audit=drawn.name)
    if as_json:
        tell_json({"audit": drawn.name, "run": drawn.run, "out": str(folder), "key": str(key), **drawn.drawn()})
        return
    tell(f"{folder / 'audit.csv'}: {len(drawn.rows)} tiles of run {drawn.run}, in random order, for QuPath too.")
    tell(f"The key, which the reader must not see: {key}")
    tell("Next: w2wpath review import FILE (of QuPath with --unchanged keep), then w2wpath review audit")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="review.csv or audit.csv filled in, or a GeoJSON out of QuPath.")],
    store: options.Store = Path("tiles.zarr"),
    who: Who = None,
    unchanged: Annotated[
        str | None, typer.Option(metavar="keep", help="Of QuPath: tiles that are as they were are to be kept.")
    ] = None,
    exported: Annotated[
        Path | None,
        typer.Option(help="Of QuPath: the SLIDE.review.json of the export. [default: the one beside FILE that fits]"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Add the verdicts of a file to the store. They outlive every later run of clean."""
    if unchanged not in (None, "keep"):
        raise typer.BadParameter(f"--unchanged takes keep; got {unchanged!r}")

    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.audit import SOURCE, keys, score_audit
    from w2wpath.w2wnet.review import on_other_labels, read_verdicts_csv
    from w2wpath.w2wnet.review_qupath import read_verdicts_qupath
    from w2wpath.w2wnet.verdicts import append_verdicts

    opened = TileStore.open(store)
    tiles = opened.table()
    if file.name.lower().endswith(QUPATH):
        found = read_verdicts_qupath(file, tiles, exported=exported, unchanged=unchanged)
    else:
        found = read_verdicts_csv(file, tiles)
    if not found.verdicts:
        raise ReviewError(f"{file}: holds no verdict. Fill in the column verdict, or change tiles in QuPath.")
    source = f"{SOURCE}{found.audit}" if found.audit else file.name
    batch = append_verdicts(opened, found.verdicts, who=person(who), source=source)
    key = keys(opened).get(found.audit)
    scored = None if key is None else score_audit(opened, key)
    stale = on_other_labels(found.verdicts, tiles)
    if as_json:
        audit = None if scored is None else asdict(scored)
        tell_json({"batch": batch, "file": str(file), "verdicts": found.counts(), "stale": stale, "audit": audit})
        return
    counts = found.counts()
    tell(f"{file}: {len(found.verdicts)} verdicts ({', '.join(f'{word} {n}' for word, n in counts.items())})")
    tell(f"batch {batch}. To take it back: w2wpath review undo {batch}")
    if stale:
        warn(
            f"{stale} of them were given on labels that the tiles no longer have. Those tiles are undecided until they "
            "are asked again: w2wpath review export."
        )
    if scored is not None:
        _tell_audit(scored)
    elif found.audit:
        warn(f"the key of audit {found.audit} is not below {opened.path.parent / 'clean'}, so it cannot be scored.")


@app.command("audit")
def audit_(store: options.Store = Path("tiles.zarr"), as_json: options.Json = False) -> None:
    """Say what the audits found: how many excluded tiles are spurious, and how many kept ones."""
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.audit import keys, score_audit

    opened = TileStore.open(store)
    scored = [score_audit(opened, key) for key in keys(opened).values()]
    if as_json:
        tell_json({"audits": [asdict(one) for one in scored]})
        return
    if not scored:
        tell("No audit yet. Begin one with `w2wpath review export --audit 100`.")
    for one in scored:
        _tell_audit(one)


def _tell_audit(one: Scored) -> None:
    tell(f"audit {one.name} of run {one.run}: {one.answered} of {one.asked} tiles have a verdict (95 % intervals)")
    tell(f"  spurious among the excluded (precision)  {one.precision}  of {one.precision.n}")
    tell(f"  spurious among the kept (missed)         {one.missed}  of {one.missed.n}")
    tell(f"  excluded of all spurious (sensitivity)   {one.sensitivity}")


@app.command("list")
def list_(store: options.Store = Path("tiles.zarr"), as_json: options.Json = False) -> None:
    """List the batches of verdicts, oldest first."""
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.verdicts import counting, read_batches

    batches = read_batches(TileStore.open(store))
    live = {batch.name for batch in counting(batches)}
    if as_json:
        rows = [{**asdict(one), "verdicts": len(one.verdicts), "counts": one.name in live} for one in batches]
        tell_json({"batches": rows})
        return
    if not batches:
        tell("No verdict yet. Begin with `w2wpath review export`.")
        return
    header = ["batch", "when", "who", "source", "verdicts", "state"]
    cells = [
        [one.name, one.when, one.who, one.source, len(one.verdicts), _state(one.undoes, one.name in live)]
        for one in batches
    ]
    tell(table(header, cells))


def _state(undoes: str, counts: bool) -> str:
    if undoes:
        return f"undoes {undoes}" if counts else f"undoes {undoes}, undone"
    return "counts" if counts else "undone"


@app.command("undo")
def undo_(
    batch: Annotated[str, typer.Argument(help="Name of the batch, of review list.")],
    store: options.Store = Path("tiles.zarr"),
    who: Who = None,
    as_json: options.Json = False,
) -> None:
    """Undo a batch of verdicts by a further entry; undone already, it comes back."""
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.verdicts import counting, read_batches, undo_batch

    opened = TileStore.open(store)
    entry = undo_batch(opened, batch, person(who))
    counts = batch in {one.name for one in counting(read_batches(opened))}
    if as_json:
        tell_json({"batch": batch, "counts": counts, "entry": entry.name})
        return
    tell(f"batch {batch}: {'counts again' if counts else 'undone'}. `w2wpath review undo {batch}` turns this round.")


def _make(folder: Path) -> None:
    """Make the folder of an export; what may hold a person's work is not written over."""
    if folder.exists():
        raise ReviewError(f"{folder}: is there already, perhaps with edited files. Choose another folder with -o.")
    folder.mkdir(parents=True)
