"""Pack a folder of heatmaps for somebody else: page, PDF and QuPath files, under names that say nothing."""

from __future__ import annotations

import gzip
import html
import os
import re
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import numpy as np
from PIL import Image

from w2wpath.errors import ConfigError, StoreError, W2wError, writing
from w2wpath.heatmaps.anonymous import Names, clean_facts, clean_page, left_in_page, names_of, unusual
from w2wpath.heatmaps.geojson import qupath_about, qupath_regions, qupath_tiles
from w2wpath.heatmaps.maps import Facts, Maps
from w2wpath.heatmaps.pdf import Picture, pages_pdf
from w2wpath.heatmaps.png import slide_picture
from w2wpath.heatmaps.store import read_maps
from w2wpath.progress import Progress, Silent
from w2wpath.qupath.write import write_regions, write_tiles

MAPS, PAGE, OVERLAY, PDF = ".maps.zarr", ".report.html", ".overlay.png", ".report.pdf"
TILES, REGIONS = ".geojson.gz", ".regions.geojson"
_TIME = (1980, 1, 1, 0, 0, 0)
_MOST_PIXELS = 64_000_000


@dataclass(frozen=True)
class Shared:
    """What was packed.

    Attributes
    ----------
    files
        Names in the zip, in order.
    slides
        Stem of each slide by its name in the zip: keep it, since only this list leads back.
    skipped
        Why a slide is not in the zip, and which files of others are not, in words.
    """

    files: tuple[str, ...]
    slides: dict[str, str]
    skipped: tuple[str, ...]


def share(out: Path, target: Path, *, keep_names: bool = False, progress: Progress | None = None) -> Shared:
    """Pack every slide of a folder of `w2wpath heatmap` into `target`: page, PDF of two pages, QuPath tiles, outlines.

    Slides are called ``slide-01`` and so on in the order of their names, and paths, patients and command lines are
    taken out, unless `keep_names`. QuPath files and the PDF are made anew from the maps. The page is the one that lies
    there, with its words and data cleaned. Fingerprints and the ids of tiles stay: who has the slide can tell that it
    is the same. The pixels of the slide stay too, and whatever is written on the glass. The same folder gives the same
    bytes.

    Raises
    ------
    ConfigError
        The folder holds no maps, `target` is no ``.zip``, or a name is still there after cleaning; nothing is written.
    StoreError
        None of the maps can be read.
    DiskError
        There is no room; a file that was there stays.
    """
    if target.suffix.lower() != ".zip":
        raise ConfigError(f"{target}: is no name of a zip file. Give one that ends with .zip.")
    stems = sorted(path.name.removesuffix(MAPS) for path in out.glob(f"*{MAPS}"))
    if not stems:
        raise ConfigError(f"{out}: holds no *{MAPS}. Make it with `w2wpath heatmap`, or give another folder.")
    width = max(2, len(str(len(stems))))
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    files: list[str] = []
    slides: dict[str, str] = {}
    skipped: list[str] = []
    with writing(target), (progress or Silent()).track("share", len(stems)) as step:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as packed:
                for number, stem in enumerate(stems, 1):
                    label = stem if keep_names else f"slide-{number:0{width}d}"
                    try:
                        maps, facts = read_maps(out / f"{stem}{MAPS}")
                    except StoreError as error:
                        skipped.append(str(error))
                    else:
                        for ending, data in _parts(out, stem, label, maps, facts, skipped, keep_names):
                            _add(packed, f"{label}{ending}", data)
                            files.append(f"{label}{ending}")
                        slides[label] = stem
                    step(1, stem)
            if not slides:
                raise StoreError(f"{out}: none of the maps can be read. The first: {skipped[0]}")
            os.replace(scratch, target)
        finally:
            scratch.unlink(missing_ok=True)
    return Shared(tuple(files), slides, tuple(skipped))


def _parts(
    out: Path, stem: str, label: str, maps: Maps, facts: Facts, skipped: list[str], keep_names: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield endings and contents of one slide's files."""
    names = None if keep_names else names_of(stem, facts.slide, facts.provenance, label)
    page = out / f"{stem}{PAGE}"
    if page.is_file():
        shown = page.read_text("utf-8") if names is None else _clean_page(page, names)
        yield PAGE, _without_dead_links(shown, label).encode()
    else:
        skipped.append(f"{page}: is not there. Run `w2wpath heatmap` for the slide again to have it packed.")
    picture = _picture(out / f"{stem}{OVERLAY}", maps, facts)
    if picture is None:
        skipped.append(f"{out / f'{stem}{OVERLAY}'}: is not there or another picture, so the PDF has no slide in it.")
    yield PDF, pages_pdf(maps, facts if names is None else _clean_facts(facts, names), picture)
    for ending, data in _qupath(maps, facts):
        text = gzip.decompress(data) if ending == TILES else data
        if names is not None and unusual(stem) and stem.casefold() in text.decode().casefold():
            raise _still_there(out / f"{stem}{ending}", stem)
        yield ending, data


def _without_dead_links(page: str, label: str) -> str:
    """Drop the links of a page to files of the slide that are not packed."""
    packed = "|".join(re.escape(ending) for ending in (TILES, REGIONS))
    link = rf'<li><a href="{re.escape(html.escape(quote(label)))}(?!(?:{packed})")\.[^"]*">[^<]*</a></li>'
    return re.sub(link, "", page)


def _clean_page(page: Path, names: Names) -> str:
    cleaned = clean_page(page.read_text("utf-8"), names)
    if left_in_page(cleaned, names):
        raise _still_there(page, names.stem)
    return cleaned


def _clean_facts(facts: Facts, names: Names) -> Facts:
    model = {key: names.clean(value) for key, value in facts.model.items()}
    return replace(facts, slide=names.label, model=model, provenance=clean_facts(facts.provenance, names))


def _still_there(path: Path, stem: str) -> W2wError:
    return ConfigError(
        f"{path}: still holds {stem!r} after names were taken out, so nothing was packed. "
        "Rename the slide and run `w2wpath heatmap` again, or pass --keep-names."
    )


def _picture(overlay: Path, maps: Maps, facts: Facts) -> Picture | None:
    """Return the slide as ``overlay.png`` shows it: the slide itself may be elsewhere by now."""
    try:
        with Image.open(overlay) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            return slide_picture(np.asarray(image.convert("RGB")), maps, facts.domain)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Pillow's words for what is no picture
        return None


def _qupath(maps: Maps, facts: Facts) -> Iterator[tuple[str, bytes]]:
    frame, fingerprint = facts.frame, facts.fingerprint
    about = qupath_about(maps, facts)
    with TemporaryDirectory() as folder:
        tiles, regions = Path(folder, "tiles.geojson.gz"), Path(folder, "regions.geojson")
        write_tiles(tiles, qupath_tiles(maps, frame, fingerprint), about)
        write_regions(regions, qupath_regions(maps, frame, fingerprint), about)
        yield TILES, tiles.read_bytes()
        yield REGIONS, regions.read_bytes()


def _add(packed: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a file without its time and owner; what is compressed already is stored."""
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3  # the same on every system
    stored = name.endswith((".gz", ".pdf"))
    packed.writestr(entry, data, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
