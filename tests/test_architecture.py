"""Rules of the architecture. Each is a function of sources, so that each is also seen to fail on a violation."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import resolve_name

import pytest

import w2wpath
from tests.conftest import ROOT, run_python

Sources = Mapping[str, str]
"""Module name (packages end in ``.__init__``) to source text."""

LAYERS = ("ground", "slides", "qupath", "tiles", "w2wnet", "reports", "heatmaps", "benchmarks", "cli")
GROUND = {"errors", "progress", "frames", "config", "provenance"}
TRUTH_READERS = ("w2wpath.w2wnet.evaluate", "w2wpath.benchmarks", "w2wpath.cli.evaluate", "w2wpath.cli.demo")
NETS = "w2wpath.w2wnet.nets"
HEAVY = {"torch", "timm", "sklearn", "dask", "zarr", "scipy", "matplotlib", "shapely"}
MOST_LINES = 400
NEEDED = "import pydantic, typer.rich_utils"
"""What no command can do without."""
HELP_TIMES = 4.0
"""Help may cost as many times what that costs, on whatever machine; torch alone costs more."""
COMMANDS = (
    "demo",
    "tile",
    "relabel",
    "patients",
    "info",
    "status",
    "export",
    "clean",
    "undo",
    "train",
    "heatmap",
    "view",
    "share",
    "evaluate",
    "run",
    "check-geojson",
)
GROUPS = {"review": ("export", "import", "audit", "list", "undo"), "bench": ("run", "report", "compare")}
IN_GROUPS = [f"{group} {name}" for group, names in GROUPS.items() for name in names]


def sources() -> dict[str, str]:
    """The package as it is."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text("utf-8")
        for path in sorted((ROOT / "w2wpath").rglob("*.py"))
    }


def imports(module: str, source: str) -> Iterator[str]:
    """Full names of all that a module imports, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = "." * node.level + (node.module or "")
            origin = resolve_name(home, module.rpartition(".")[0]) if node.level else home
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def layer(module: str) -> int | None:
    """Height of one of our modules; None for the façade and ``__main__``, which stand above all."""
    part = module.split(".")[1] if "." in module else ""
    if part in GROUND:
        return 0
    return LAYERS.index(part) if part in LAYERS else None


def torch_outside_its_island(package: Sources) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, source in package.items()
        for name in imports(module, source)
        if inside(name, "torch", "timm", "torchvision", "safetensors") and not inside(module, NETS)
    ]


def imports_that_point_up(package: Sources) -> list[str]:
    found = []
    for module, source in package.items():
        for name in imports(module, source):
            mine, other = layer(module), layer(name)
            if inside(name, "w2wpath") and mine is not None and (other is None or other > mine):
                found.append(f"{module} imports {name}")
    return found


def core_that_imports_nets(package: Sources) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, source in package.items()
        for name in imports(module, source)
        if inside(module, "w2wpath.w2wnet") and not inside(module, NETS) and inside(name, NETS)
    ]


def truth_that_leaks(package: Sources) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, source in package.items()
        for name in imports(module, source)
        if inside(name, "w2wpath.w2wnet.truth") and not inside(module, *TRUTH_READERS)
    ]


def modules_too_long(package: Sources) -> list[str]:
    return [module for module, source in package.items() if len(source.splitlines()) > MOST_LINES]


def modules_named_utils(package: Sources) -> list[str]:
    return [module for module in package if module.rpartition(".")[2] in ("utils", "util", "helpers")]


RULES: list[tuple[Callable[[Sources], list[str]], Sources, list[str]]] = [
    (
        torch_outside_its_island,
        {
            "w2wpath.w2wnet.clean": "def run():\n    import torch.nn as nn",
            "w2wpath.heatmaps.run": "from timm.layers import x",
            "w2wpath.w2wnet.nets.data": "import torch",
            "w2wpath.w2wnet.nets_too": "import torch",
            "w2wpath.w2wnet.fit": "import torchlike",
        },
        [
            "w2wpath.w2wnet.clean imports torch.nn",
            "w2wpath.heatmaps.run imports timm.layers.x",
            "w2wpath.w2wnet.nets_too imports torch",
        ],
    ),
    (
        imports_that_point_up,
        {
            "w2wpath.errors": "import w2wpath.slides",
            "w2wpath.slides.reader": "from w2wpath.tiles.store import TileStore\nfrom w2wpath.errors import SlideError",
            "w2wpath.tiles.cut": "def f():\n    from .. import cli",
            "w2wpath.w2wnet.fit": "from w2wpath import tile",
            "w2wpath.reports.page": "from .cleaning import x",
            "w2wpath.cli.main": "from w2wpath.benchmarks import x\nimport numpy",
            "w2wpath.__main__": "from w2wpath.cli.main import main",
        },
        [
            "w2wpath.errors imports w2wpath.slides",
            "w2wpath.slides.reader imports w2wpath.tiles.store.TileStore",
            "w2wpath.tiles.cut imports w2wpath.cli",
            "w2wpath.w2wnet.fit imports w2wpath.tile",
        ],
    ),
    (
        core_that_imports_nets,
        {
            "w2wpath.w2wnet.fit": "def f():\n    from w2wpath.w2wnet.nets.training import Network",
            "w2wpath.w2wnet.clean": "from w2wpath.w2wnet import nets",
            "w2wpath.w2wnet.nets.train": "from w2wpath.w2wnet.nets.data import Batches",
            "w2wpath.cli.clean": "from w2wpath.w2wnet.nets.training import Tiles",
        },
        [
            "w2wpath.w2wnet.fit imports w2wpath.w2wnet.nets.training.Network",
            "w2wpath.w2wnet.clean imports w2wpath.w2wnet.nets",
        ],
    ),
    (
        truth_that_leaks,
        {
            "w2wpath.w2wnet.clean": "from w2wpath.w2wnet.truth import Truth",
            "w2wpath.w2wnet.nets.train": "from w2wpath.w2wnet import truth",
            "w2wpath.cli.clean": "def f():\n    from w2wpath.w2wnet.truth import read_truth",
            "w2wpath.w2wnet.evaluate": "from w2wpath.w2wnet.truth import Truth",
            "w2wpath.benchmarks.study": "from w2wpath.w2wnet.truth import Truth",
        },
        [
            "w2wpath.w2wnet.clean imports w2wpath.w2wnet.truth.Truth",
            "w2wpath.w2wnet.nets.train imports w2wpath.w2wnet.truth",
            "w2wpath.cli.clean imports w2wpath.w2wnet.truth.read_truth",
        ],
    ),
    (modules_too_long, {"w2wpath.a": "\n" * 401, "w2wpath.b": "\n" * 400}, ["w2wpath.a"]),
    (modules_named_utils, {"w2wpath.tiles.utils": "", "w2wpath.tiles.cut": ""}, ["w2wpath.tiles.utils"]),
]


@pytest.mark.parametrize(("rule", "broken", "found"), RULES, ids=lambda part: getattr(part, "__name__", ""))
def test_the_package_keeps_the_rule_and_a_breach_is_seen(
    rule: Callable[[Sources], list[str]], broken: Sources, found: list[str]
) -> None:
    assert rule(broken) == found
    assert rule(sources()) == []


def test_every_module_has_a_layer() -> None:
    above = {module for module in sources() if layer(module) is None}
    assert above == {"w2wpath.__init__", "w2wpath.__main__"}


def test_the_facade_names_only_what_is_there() -> None:
    assert w2wpath.__all__ == sorted(w2wpath._LAZY)
    for name in w2wpath.__all__:
        assert getattr(w2wpath, name).__module__ == w2wpath._LAZY[name]
        assert name in dir(w2wpath)


def test_a_name_that_the_facade_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError) as caught:
        w2wpath.tiel  # noqa: B018 - asking is the test
    assert str(caught.value) == "module 'w2wpath' has no attribute 'tiel'"


def test_importing_the_package_loads_no_numpy_and_nothing_heavy() -> None:
    loaded = run_python("import sys, w2wpath; print(*sorted({name.split('.')[0] for name in sys.modules}))")
    assert loaded.returncode == 0
    assert "w2wpath" in loaded.stdout.split()
    assert set(loaded.stdout.split()) & {*HEAVY, "numpy", "pydantic", "typer", "PIL"} == set()


# help ---------------------------------------------------------------------------------------------------------------


def called(*words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-m", "w2wpath", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def loaded_by(*words: str) -> set[str]:
    """Top-level packages that the command loads; Python itself tells."""
    done = called(*words, options=("-X", "importtime"))
    assert done.returncode == 0, done.stderr
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if line.count("|") == 2}


def test_the_commands_are_those_of_this_test() -> None:
    from w2wpath.cli.main import app

    assert tuple(command.name for command in app.registered_commands) == COMMANDS
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    assert {
        name: tuple(command.name for command in group.registered_commands) for name, group in groups.items() if group
    } == GROUPS


@pytest.mark.parametrize(
    "words", [["--help"], *([*name.split(), "--help"] for name in (*COMMANDS, *IN_GROUPS))], ids=" ".join
)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    loaded = loaded_by(*words)
    assert {"w2wpath", "typer"} <= loaded
    assert loaded & HEAVY == set()


def test_what_is_heavy_would_be_seen() -> None:
    code = "import sys; from w2wpath import TileStore"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.search(r"\| +zarr$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("words", [["--help"], ["tile", "--help"]], ids=" ".join)
def test_help_answers_at_once(words: list[str]) -> None:
    assert computed("-m", "w2wpath", *words) < HELP_TIMES * computed("-c", NEEDED)


def test_what_is_slow_would_be_seen() -> None:
    assert computed("-c", "import torch") > HELP_TIMES * computed("-c", NEEDED)


def computed(*words: str) -> float:
    """Seconds that Python computes, the least of three; not those that it waits, as other tests run beside this one."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, timeout=60, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(took)
