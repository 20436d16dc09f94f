"""Slides for the contract, each made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.made import EVERY, Made

_SEEN: dict[Path, Made] = {}


@pytest.fixture(scope="session")
def slides_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("contract")


@pytest.fixture
def made(request: pytest.FixtureRequest, slides_folder: Path) -> Made:
    """One of the slides by its name; read it, never write it."""
    path = slides_folder / request.param
    if path not in _SEEN:
        _SEEN[path] = EVERY[request.param](path)
    return _SEEN[path]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a contract on the slides that its class names."""
    if "made" in metafunc.fixturenames and metafunc.cls is not None:
        metafunc.parametrize("made", metafunc.cls.slides, indirect=True)
