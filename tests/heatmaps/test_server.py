"""The server of the viewer: only for this machine, only with the token, only what it offers."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from html import unescape
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import coordinate_image
from tests.heatmaps.made import made_maps
from tests.heatmaps.pages import EVIL, facts, serving
from w2wpath.errors import ConfigError, SlideError
from w2wpath.frames import named_frame
from w2wpath.heatmaps import server
from w2wpath.heatmaps.page import content_of
from w2wpath.heatmaps.server import Later, Shown, Viewer
from w2wpath.slides.reader import open_slide

FRAME = named_frame("qupath", 640, 512, None)


@pytest.fixture
def shown(coordinate_svs: Path, tmp_path: Path) -> Iterator[Shown]:
    """A coordinate slide under 30 tiles, with two downloads, one of which is gone."""
    (tmp_path / "slide.tiles.csv").write_text("x0,y0\n")
    (tmp_path / "secret.txt").write_text("secret")
    maps = made_maps([1, 2, 0] * 10, [0, 1, 0] * 10, columns=6)
    files = {EVIL: tmp_path / "slide.tiles.csv", "gone.csv": tmp_path / "gone.csv"}
    with open_slide(coordinate_svs) as slide:
        yield Shown(slide, content_of(maps, facts(FRAME, EVIL), downloads=tuple(files)), files)


@pytest.fixture
def viewer(shown: Shown) -> Iterator[Viewer]:
    with serving(Viewer([shown])) as running:
        yield running


def ask(viewer: Viewer, path: str, *, method: str = "GET", host: str | None = None) -> tuple[HTTPResponse, bytes]:
    """Send one request with the path as it is."""
    port = viewer.server_address[1]
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def pixels(body: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(body)))


def test_tiles_are_the_slides_pixels(viewer: Viewer) -> None:
    image = coordinate_image(640, 512).astype(int)
    answer, body = ask(viewer, f"/{viewer.token}/0/tiles/0/1/1.jpg")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "image/jpeg")
    assert np.abs(pixels(body) - image[256:512, 256:512]).max() <= 16
    assert np.abs(pixels(body) - image[256:512, 256:512]).mean() < 2
    _, body = ask(viewer, f"/{viewer.token}/0/tiles/0/2/0.jpg")
    assert pixels(body).shape == (256, 128, 3)
    _, body = ask(viewer, f"/{viewer.token}/0/tiles/-2/0/0.jpg")
    assert pixels(body).shape == (128, 160, 3)
    assert np.abs(pixels(body) - image[::4, ::4]).mean() < 4


def test_the_page_asks_for_its_tiles_beside_it(viewer: Viewer) -> None:
    answer, _ = ask(viewer, f"/{viewer.token}/")
    assert (answer.status, answer.getheader("Location")) == (302, "0/")
    answer, body = ask(viewer, f"/{viewer.token}/0/")
    assert answer.status == 200
    html = body.decode()
    assert '<script type="application/json" id="source">{"max_zoom": 0, "min_zoom": -2, "tiles": null}</script>' in html
    assert "img-src data: 'self';" in unescape(html)
    assert "alert(1)</script>" not in html
    assert answer.getheader("Referrer-Policy") == "no-referrer"
    assert answer.getheader("Content-Security-Policy") == "frame-ancestors 'none'"
    assert "Python" not in str(answer.getheader("Server"))


def test_several_slides_get_a_list(shown: Shown) -> None:
    with serving(Viewer([shown, shown])) as viewer:
        answer, body = ask(viewer, f"/{viewer.token}/")
        assert answer.status == 200
        assert body.decode().count("<li>") == 2
        assert "<script>" not in body.decode()
        assert ask(viewer, f"/{viewer.token}/1/")[0].status == 200
        assert ask(viewer, f"/{viewer.token}/2/")[0].status == 404


def test_a_slide_is_opened_when_it_is_asked_for(shown: Shown) -> None:
    opened: list[str] = []

    def good() -> Shown:
        opened.append("good")
        return shown

    def bad() -> Shown:
        raise ConfigError("out: the slide of <b> is not at x. Pass --slide with its path.")

    with serving(Viewer([Later("good", good), Later("<b>", bad)])) as viewer:
        assert b"&lt;b&gt;" in ask(viewer, f"/{viewer.token}/")[1]
        assert opened == []
        assert ask(viewer, f"/{viewer.token}/0/")[0].status == 200
        assert ask(viewer, f"/{viewer.token}/0/tiles/0/0/0.jpg")[0].status == 200
        assert opened == ["good"]
        answer, body = ask(viewer, f"/{viewer.token}/1/")
        assert (answer.status, answer.getheader("Content-Type")) == (404, "text/plain; charset=utf-8")
        assert body == b"out: the slide of <b> is not at x. Pass --slide with its path.\n"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/favicon.ico",
        "/0/",
        "/x/0/",
        "//0/",
    ],
)
def test_without_the_token_nothing_is_told(viewer: Viewer, path: str) -> None:
    assert ask(viewer, path)[0].status == 403


def test_bytes_that_are_no_text_are_no_token(viewer: Viewer) -> None:
    port = int(viewer.server_address[1])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plug:
        plug.sendall(b"GET /\xc3\xa9\xff/0/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port)
        assert plug.recv(100).startswith(b"HTTP/1.1 403 ")


def test_half_a_token_is_none(viewer: Viewer) -> None:
    assert len(viewer.token) >= 32
    assert ask(viewer, f"/{viewer.token[:-1]}/0/")[0].status == 403
    assert ask(viewer, f"/{viewer.token}x/0/")[0].status == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost"])
def test_another_name_of_this_machine_is_refused(viewer: Viewer, host: str) -> None:
    path = f"/{viewer.token}/0/"
    port = viewer.server_address[1]
    assert ask(viewer, path, host=host.format(port=port))[0].status == 403
    assert ask(viewer, path, host=f"localhost:{port}")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_only_get_is_answered(viewer: Viewer, method: str) -> None:
    assert ask(viewer, f"/{viewer.token}/0/", method=method)[0].status == 405


@pytest.mark.parametrize(
    "path",
    [
        "0/files/../secret.txt",
        "0/files/..%2Fsecret.txt",
        "0/files/%2e%2e/secret.txt",
        "0/files/secret.txt",
        "0/files//etc/passwd",
        "0/files/%2Fetc%2Fpasswd",
        "0/files/",
        "0/files/gone.csv",
        "0/../0/",
        "../0/",
        "0/tiles/0/../../files/secret.txt",
        "0/tiles/0/3/0.jpg",
        "0/tiles/0/0/9.jpg",
        "0/tiles/-3/0/0.jpg",
        "0/tiles/1/0/0.jpg",
        "0/tiles/-99/0/0.jpg",
        "0/tiles/0/-1/0.jpg",
        "0/tiles/0/0/0.png",
        "0/tiles/0/9999999999/0.jpg",
        "9/",
        "-1/",
        "0",
    ],
)
def test_nothing_but_what_is_offered(viewer: Viewer, path: str) -> None:
    answer, body = ask(viewer, f"/{viewer.token}/{path}")
    assert answer.status == 404
    assert b"secret" not in body


def test_downloads_are_served_by_their_names(viewer: Viewer) -> None:
    from urllib.parse import quote

    answer, body = ask(viewer, f"/{viewer.token}/0/files/{quote(EVIL, safe='')}")
    assert (answer.status, body) == (200, b"x0,y0\n")
    assert answer.getheader("Content-Type") == "application/octet-stream"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"


def test_it_listens_on_this_machine_only(viewer: Viewer) -> None:
    assert viewer.server_address[0] == "127.0.0.1"
    assert viewer.url == f"http://127.0.0.1:{viewer.server_address[1]}/{viewer.token}/"


def test_a_browser_that_leaves_does_not_stop_it(viewer: Viewer, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", int(viewer.server_address[1]))) as plug:
        plug.sendall(b"GET / HT")
    assert ask(viewer, f"/{viewer.token}/0/")[0].status == 200
    assert capsys.readouterr() == ("", "")


def test_tiles_are_kept_but_not_all_for_ever(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = []

    def spy(slide: object, *key: int) -> NDArray[np.uint8]:
        cut.append(key)
        if key == (-2, 0, 0):
            raise SlideError("damaged")
        return np.zeros((4, 4, 3), dtype=np.uint8)

    monkeypatch.setattr(server, "cut_tile", spy)
    monkeypatch.setattr(server, "KEPT_TILES", 2)
    for column in (0, 1, 0, 2, 0, 1):
        shown.tile(0, column, 0)
    assert [key[1] for key in cut] == [0, 1, 2, 1]
    with serving(Viewer([shown])) as viewer:
        assert ask(viewer, f"/{viewer.token}/0/tiles/-2/0/0.jpg")[0].status == 404
