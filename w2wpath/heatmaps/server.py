"""The viewer over the slide itself, for this machine only: pages and tiles on 127.0.0.1 behind a token.

Nothing is served by a path that a request made up: a request names a page by its number, a tile by three numbers, and a
download by a name that must be one of those listed beforehand.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from w2wpath.errors import SlideError, W2wError
from w2wpath.heatmaps.page import Content, page_html, served
from w2wpath.heatmaps.pyramid import SERVED_QUALITY, cut_tile, jpeg, min_zoom, tile_counts
from w2wpath.reports.page import render
from w2wpath.slides.contract import Slide

KEPT_TILES = 512
"""JPEG tiles that stay in memory, some 10 to 20 MB."""
IDLE_S = 30
_PAGE = re.compile(r"(\d{1,4})/(.*)", re.DOTALL)
_TILE = re.compile(r"tiles/(-\d{1,2}|0)/(\d{1,6})/(\d{1,6})\.jpg")
_FILE = "files/"


@dataclass
class Shown:
    """One slide to show: its page is made, and its tiles are cut, when they are asked for.

    Attributes
    ----------
    downloads
        Files by the names under which they are offered.
    """

    slide: Slide
    content: Content
    downloads: Mapping[str, Path] = field(default_factory=dict)
    _kept: OrderedDict[tuple[int, int, int], bytes] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _page: bytes | None = None

    @property
    def name(self) -> str:
        """What a list calls it."""
        return self.content.facts.slide

    def shown(self) -> Shown:
        """Return itself."""
        return self

    def close(self) -> None:
        """Close the slide."""
        self.slide.close()

    def page(self) -> bytes:
        """Return the page."""
        with self._lock:
            if self._page is None:
                self._page = page_html(self.content, served(self.slide.width0, self.slide.height0)).encode()
            return self._page

    def tile(self, zoom: int, column: int, row: int) -> bytes | None:
        """Return a tile as a JPEG file; None where there is none.

        Raises
        ------
        SlideError
            Its pixels cannot be decoded.
        """
        width0, height0 = self.slide.width0, self.slide.height0
        if not min_zoom(width0, height0) <= zoom <= 0:
            return None
        columns, rows = tile_counts(width0, height0, zoom)
        if column >= columns or row >= rows:
            return None
        key = (zoom, column, row)
        with self._lock:  # not every reader of slides may be called from two threads
            if key not in self._kept:
                self._kept[key] = jpeg(cut_tile(self.slide, *key), SERVED_QUALITY)
                if len(self._kept) > KEPT_TILES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


@dataclass
class Later:
    """A slide that is opened when somebody asks for it: a folder may hold hundreds.

    Attributes
    ----------
    name
        What a list calls it.
    open
        Opens it.
    """

    name: str
    open: Callable[[], Shown]
    _opened: Shown | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def shown(self) -> Shown:
        """Return the slide, opened the first time."""
        with self._lock:
            self._opened = self._opened or self.open()
            return self._opened

    def close(self) -> None:
        """Close the slide if it was opened."""
        if self._opened is not None:
            self._opened.close()


class Viewer(ThreadingHTTPServer):
    """Serves `shown` on 127.0.0.1 until it is shut down.

    Parameters
    ----------
    shown
        Slides to show; one is the first page itself, several get a list.
    port
        0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, shown: Sequence[Shown | Later], port: int = 0) -> None:
        self.shown = tuple(shown)
        self.token = secrets.token_urlsafe(24)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Address of the first page, with the token."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that leaves in the middle of a tile is no fault."""


class _Handler(BaseHTTPRequestHandler):
    server: Viewer
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    server_version, sys_version = "w2wpath", ""

    def do_GET(self) -> None:
        """Answer one request."""
        port = self.server.server_address[1]
        # another site's page reaches this address under its own name (DNS rebinding), never under these
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            return self._refuse(HTTPStatus.FORBIDDEN)
        token, _, rest = self.path.removeprefix("/").partition("?")[0].partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            return self._refuse(HTTPStatus.FORBIDDEN)
        return self._answer(rest)

    def _not_allowed(self) -> None:
        self.close_connection = True  # a body that was sent along is not read
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = _not_allowed

    def _answer(self, rest: str) -> None:
        shown = self.server.shown
        if rest == "":
            links = [(f"{index}/", one.name) for index, one in enumerate(shown)]
            body = render("heatmap_list.html.j2", {"links": links}).encode()
            return self._redirect("0/") if len(shown) == 1 else self._send(body, "text/html; charset=utf-8")
        found = _PAGE.fullmatch(rest)
        if not found or int(found[1]) >= len(shown):
            return self._refuse(HTTPStatus.NOT_FOUND)
        try:
            one = shown[int(found[1])].shown()
        except W2wError as error:
            return self._send(f"{error}\n".encode(), "text/plain; charset=utf-8", HTTPStatus.NOT_FOUND)
        return self._of_slide(one, found[2])

    def _of_slide(self, one: Shown, rest: str) -> None:
        if rest == "":
            return self._send(one.page(), "text/html; charset=utf-8")
        if tile := _TILE.fullmatch(rest):
            zoom, column, row = map(int, tile.groups())
            return self._tile(lambda: one.tile(zoom, column, row))
        path = one.downloads.get(unquote(rest.removeprefix(_FILE))) if rest.startswith(_FILE) else None
        if path is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        try:
            return self._send(path.read_bytes(), "application/octet-stream")
        except OSError:  # removed since
            return self._refuse(HTTPStatus.NOT_FOUND)

    def _tile(self, cut: Callable[[], bytes | None]) -> None:
        try:
            tile = cut()
        except SlideError:
            tile = None
        return self._refuse(HTTPStatus.NOT_FOUND) if tile is None else self._send(tile, "image/jpeg")

    def _redirect(self, where: str) -> None:
        self.send_response(HTTPStatus.FOUND)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(f"{status.value} {status.phrase}\n".encode(), "text/plain; charset=utf-8", status)

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the token is part of every address."""


_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
