"""ASAP and Aperio ImageScope XML as the Features that QuPath would write: one pipeline reads all three.

ASAP counts level-0 pixels from the corner of the whole image, also where QuPath crops to the scanned area (frame
"slide"); ImageScope's own slides are never cropped.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
import shapely
from defusedxml import DefusedXmlException  # type: ignore[import-untyped] # ships no type information
from defusedxml.ElementTree import iterparse  # type: ignore[import-untyped] # ships no type information
from shapely.geometry.base import BaseGeometry

from w2wpath.errors import AnnotationError
from w2wpath.qupath.geojson import NOTE
from w2wpath.qupath.geometry import read_area
from w2wpath.qupath.source import Document

MOST_NESTED = 100
"""Both formats nest 6 elements deep."""
ELLIPSE_POINTS = 64
REGION_TYPES = {"0": "polygon", "1": "rectangle", "2": "ellipse", "3": "arrow", "4": "ruler", "5": "pin"}
SPLINE_NOTE = "spline read as straight lines between its points"
ALONE_NOTE = "negative region that meets no positive region of its layer"
AGAIN = "Export it again from ASAP or ImageScope."

Points = list[list[Any]]  # rows of x, y: numbers, and what is no number as the text it was
Node = tuple[str, list[str], Mapping[str, str]]
"""The start or end of an element, the names from the root to it, its attributes."""


def is_asap(document: Document) -> bool:
    """Whether a document is ASAP's, whose coordinates count from the corner of the scan whatever its bounds are."""
    return document.is_xml and b"<ASAP_Annotations" in document.data[:4096]


def xml_features(document: Document) -> Iterator[dict[str, Any]]:
    """Yield the annotations of an ASAP or ImageScope document as GeoJSON Features, in file order.

    The class is ASAP's group, or ImageScope's region text, else layer name, else the layer's "Description", else
    "Layer" and its id. Negative regions of ImageScope become holes of the positive ones of their layer. Notes stand in
    ``properties[NOTE]``. In memory are the points of one annotation (ASAP) or one layer (ImageScope) at most.

    Raises
    ------
    AnnotationError
        While iterating: the document is not well-formed, declares entities, is nested too deeply, or is of neither
        form. A single broken annotation raises nothing: its coordinates are passed on as they are.
    """
    nodes = _nodes(document)
    root = next(nodes)[1][0]  # a document without a root has raised
    if root not in ("ASAP_Annotations", "Annotations"):
        raise AnnotationError(
            f"{document.where}: XML of root element <{root}>, but neither ASAP's (<ASAP_Annotations>) nor ImageScope's "
            "(<Annotations>). Export the regions from QuPath: File > Export objects as GeoJSON."
        )
    yield from _asap(nodes) if root == "ASAP_Annotations" else _imagescope(nodes, document.where)


def _nodes(document: Document) -> Iterator[Node]:
    """Yield starts and ends; an element is forgotten once it has ended."""
    names: list[str] = []
    opened: list[Element] = []
    for event, element in _parsed(document):
        if event == "start":
            names.append(element.tag.rpartition("}")[2])  # without its namespace
            opened.append(element)
            if len(names) > MOST_NESTED:
                raise AnnotationError(f"{document.where}: XML nested more than {MOST_NESTED} deep. {AGAIN}")
        yield event, names, element.attrib
        if event == "end":
            del names[-1], opened[-1]
            if opened:
                opened[-1].remove(element)


def _parsed(document: Document) -> Iterator[tuple[str, Element]]:
    try:
        yield from iterparse(io.BytesIO(document.data), events=("start", "end"))
        return
    except ParseError as error:
        line, column = error.position
        why = f"not well-formed XML ({str(error).rpartition(': line ')[0]}, line {line} column {column + 1}). {AGAIN}"
    except DefusedXmlException as error:
        what = getattr(error, "name", None) or getattr(error, "sysid", None)
        why = (
            f"refused, since its DOCTYPE declares the entity {what!r}: entities can fill the memory or read other "
            "files, and no annotation needs them. Remove the DOCTYPE."
        )
    except (LookupError, ValueError) as error:  # of the codec that the document names
        why = f"its text encoding cannot be read ({error}). Save it as UTF-8."
    raise AnnotationError(f"{document.where}: {why}")


def _asap(nodes: Iterator[Node]) -> Iterator[dict[str, Any]]:
    points: Points = []
    orders: list[str] = []
    count = 0
    for event, names, attributes in nodes:
        if event == "start" and names[-1] == "Annotation":
            points, orders = [], []
        elif event == "end" and names[-1] == "Coordinate":
            points.append(_point(attributes))
            orders.append(attributes.get("Order", ""))
        elif event == "end" and names[-1] == "Annotation":
            name, group, kind = (attributes.get(key, "").strip() for key in ("Name", "PartOfGroup", "Type"))
            geometry = _geometry(kind or "without a type", _in_order(points, orders))
            feature = _feature(name or f"Annotation {count}", name, geometry)  # as ASAP names them, from 0
            if group not in ("", "None"):
                feature["properties"]["classification"] = {"name": group}
            if kind.lower() == "spline":
                feature["properties"][NOTE] = SPLINE_NOTE
            yield feature
            count += 1


def _in_order(points: Points, orders: list[str]) -> Points:
    """Return the points by their ``Order``; as they stand where one of them is no whole number."""
    try:
        ranks = [int(order) for order in orders]
    except ValueError:
        return points
    return [points[i] for i in sorted(range(len(points)), key=ranks.__getitem__)]


def _imagescope(nodes: Iterator[Node], where: str) -> Iterator[dict[str, Any]]:
    layer = _Layer("", "")
    points: Points = []
    count = 0
    for event, names, attributes in nodes:
        match event, names[-1]:
            case "start", "Annotation":
                count += 1
                layer = _Layer(attributes.get("Id") or str(count), attributes.get("Name", "").strip())
            case "start", "Region":
                points = []
            case "start", "V":  # dlup shifts HALO's coordinates by the slide's bounds: as they are, tiles lie elsewhere
                raise AnnotationError(f"{where}: XML of HALO, whose origin differs. Export its regions as GeoJSON.")
            case "end", "Vertex":
                points.append(_point(attributes))
            case "end", "Attribute" if attributes.get("Name") == "Description" and "Region" not in names:
                layer.description = layer.description or attributes.get("Value", "").strip()
            case "end", "Region":
                layer.add(attributes, points)
            case "end", "Annotation":
                yield from layer.features()


@dataclass
class _Layer:
    """An <Annotation> of ImageScope: what it is called, and its regions so far."""

    id: str
    name: str
    description: str = ""
    regions: list[dict[str, Any]] = field(default_factory=list)
    holes: list[dict[str, Any]] = field(default_factory=list)

    def add(self, region: Mapping[str, str], points: Points) -> None:
        """Take in a region; where it has no text, its class waits for the layer's end."""
        # WSITools' script for QuPath writes GeoShape; its Type then counts the classes, "null" is without one
        drawn = region.get("GeoShape", "").strip()
        kind = drawn or REGION_TYPES.get(region.get("Type", "0").strip(), "line")
        text = region.get("Text", "").strip()
        ident = region.get("Id") or len(self.regions) + len(self.holes) + 1
        feature = _feature(f"{self.id}.{ident}", text, _geometry(kind, points))
        if drawn and text == "null":
            feature["properties"]["classification"] = None
        elif text:
            feature["properties"]["classification"] = {"name": text}
        negative = region.get("NegativeROA", "").strip() == "1" and feature["geometry"]["type"] == "Polygon"
        (self.holes if negative else self.regions).append(feature)

    def features(self) -> Iterator[dict[str, Any]]:
        """Yield the regions with the holes that meet them, then the negative regions that meet none."""
        label = {"name": self.name or self.description or f"Layer {self.id}"}
        for feature in (*self.regions, *self.holes):
            feature["properties"].setdefault("classification", label)
        rings = [hole["geometry"]["coordinates"][0] for hole in self.holes]
        areas = np.array([_drawn(ring) for ring in rings], dtype=object)
        tree = shapely.STRtree(areas)
        alone = set(range(len(rings)))
        for feature in self.regions:
            if feature["geometry"]["type"] == "Polygon":
                region = _drawn(feature["geometry"]["coordinates"][0])
                near = np.sort(tree.query(region, predicate="intersects"))
                # one that only touches is no hole: as an inner ring it would become an area of its own
                met = near[shapely.area(shapely.intersection(areas[near], region)) > 0].tolist()
                alone.difference_update(met)
                feature["geometry"]["coordinates"].extend(rings[i] for i in met)
            yield feature
        for i in sorted(alone):
            self.holes[i]["properties"][NOTE] = ALONE_NOTE
            yield {**self.holes[i], "geometry": {"type": "negative region"}}


def _feature(ident: str, name: str, geometry: dict[str, Any]) -> dict[str, Any]:
    """Return an annotation as QuPath 0.5 writes it, not yet classified."""
    properties: dict[str, Any] = {"objectType": "annotation", **({"name": name} if name else {})}
    return {"type": "Feature", "id": ident, "geometry": geometry, "properties": properties}


def _point(attributes: Mapping[str, str]) -> list[float | str]:
    return [_number(attributes.get(axis, "")) for axis in "XY"]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _geometry(kind: str, points: Points) -> dict[str, Any]:
    """Return the GeoJSON of what was drawn; a kind that is not known stays the type, so that it is reported."""
    match kind.lower():
        case "polygon" | "area" | "geometry" | "spline" | "rectangle" | "ellipse" as shape:
            return {"type": "Polygon", "coordinates": [_ring(shape, points)]}
        case "dot" | "pointset" | "points" | "pin":
            one = len(points) == 1
            return {"type": "Point" if one else "MultiPoint", "coordinates": points[0] if one else points}
        case "measurement" | "arrow" | "ruler" | "line":
            return {"type": "LineString", "coordinates": points}
    return {"type": kind}


def _ring(shape: str, points: Points) -> Points:
    """Return the closed outline of a polygon, of a rectangle of two corners, or of an ellipse given by its box."""
    if shape == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    elif shape == "ellipse" and len(points) in (2, 4):
        points = _ellipse(points)
    return [*points, points[0]] if points and points[0] != points[-1] else points


def _ellipse(points: Points) -> Points:
    """Return the ellipse that fills the bounding box of `points`; the points themselves where they are no numbers."""
    if any(isinstance(value, str) for row in points for value in row):
        return points
    (x0, y0), (x1, y1) = np.min(points, axis=0).tolist(), np.max(points, axis=0).tolist()
    turns = (2 * math.pi * i / ELLIPSE_POINTS for i in range(ELLIPSE_POINTS))
    return [[(x0 + x1 + (x1 - x0) * math.cos(t)) / 2, (y0 + y1 + (y1 - y0) * math.sin(t)) / 2] for t in turns]


def _drawn(ring: Points) -> BaseGeometry:
    """Return the area of a ring; an empty one, which meets nothing, where there is none."""
    return read_area({"type": "Polygon", "coordinates": [ring]}).area or shapely.Polygon()
