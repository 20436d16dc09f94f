"""What helps to look at a heatmap in QuPath: a script that loads and colours the tiles, and a colour map."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib

from w2wpath.frames import Frame
from w2wpath.w2wnet.domain import Domain

_SIZE_SLACK_PX = 2
_SCRIPT = """\
// w2wpath: loads the tiles of a heatmap into the image that is open, and colours them. Research use only.
// Open the slide, drop this file on QuPath, and choose Run > Run in the script editor. Written for QuPath 0.4 to 0.7.
// The file of tiles is looked for in `folder`, in w2w/ of the project, in the project, and beside the image.

import qupath.lib.color.ColorMaps
import qupath.lib.gui.tools.MeasurementMapper

def folder = ''                // where the tiles are, if in none of the places above
def tiles = {file}
def measurement = {measurement}
def colours = 'Inferno'        // or cividis, when cividis.tsv is in the folder colormaps of QuPath's user directory

// the tiles count from the corner of this frame: {frame}
def server = getCurrentServer()
if (Math.abs(server.getWidth() - {width}) > {slack} || Math.abs(server.getHeight() - {height}) > {slack})
    throw new IllegalStateException('The heatmap is of an image of {width} x {height} pixels, and this one has ' +
        server.getWidth() + ' x ' + server.getHeight() + '. Open the slide of the heatmap; if it is open, ' +
        'make the heatmap again with another --origin.')

def places = [folder]
if (getProject() != null)
    places += [buildFilePath(PROJECT_BASE_DIR, 'w2w'), buildFilePath(PROJECT_BASE_DIR)]
server.getURIs().each {{ if (it.getScheme() == 'file') places << new File(it).getParent() }}
def found = places.findAll {{ it }}.collect {{ new File(it, tiles) }}.find {{ it.isFile() }}
if (found == null)
    throw new FileNotFoundException(tiles + ' is in none of ' + places.findAll {{ it }} + '. Set folder above.')

importObjectsFromFile(found.getPath())

// the scale is 0 to 1 on every slide, so that slides can be compared; uncertain tiles lack the measurement
def map = ColorMaps.getColorMaps().get(colours)
def mapper = new MeasurementMapper(map, measurement, getDetectionObjects())
mapper.setDisplayMinValue(0)
mapper.setDisplayMaxValue(1)
def options = getCurrentViewer().getOverlayOptions()
options.setMeasurementMapper(mapper)
options.setFillDetections(true)
options.setOpacity(0.5f)
{warning}"""


def groovy(stem: str, classes: Sequence[str], frame: Frame, domain: Domain | None = None) -> str:
    """Return ``qupath_load.groovy``: a script that imports ``<stem>.geojson.gz`` and shows P of the first class.

    The scale of its colours is fixed at 0 to 1. It stops with words where the open image has not the size of `frame`,
    or the file is not found.

    Parameters
    ----------
    domain
        Whether the slide looks like the training slides: if not, the script says so.
    classes
        Class names in the order of probabilities, at least one.
    frame
        Frame that the tiles were written for.
    """
    width, height = frame.size
    warning = ""
    if domain is not None and not domain.inside:
        # the log, since the class of dialogs has moved between versions
        warning = f"\nprintln({_quoted(domain.words)})\n"
    return _SCRIPT.format(
        file=_quoted(f"{stem}.geojson.gz"),
        measurement=_quoted(f"w2w P({classes[0]}) confident"),
        frame=frame.name,
        width=width,
        height=height,
        slack=_SIZE_SLACK_PX,
        warning=warning,
    )


def cividis_tsv() -> str:
    """Return a colour map for the folder ``colormaps`` of QuPath's user directory: 256 rows ``r g b`` from 0 to 1."""
    table = matplotlib.colormaps["cividis"](range(256))[:, :3]
    return "".join(f"{red:.6f}\t{green:.6f}\t{blue:.6f}\n" for red, green, blue in table.tolist())


def _quoted(text: str) -> str:
    """Return a Groovy string in single quotes, in which nothing is put in for ``$``.

    All but ASCII is written as UTF-16 escapes, since QuPath up to 0.4.0 may read files in another charset.
    """
    plain = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return f"'{''.join(plain.get(char) or _escaped(char) for char in text)}'"


def _escaped(char: str) -> str:
    if " " <= char <= "~" and char != "$":
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
