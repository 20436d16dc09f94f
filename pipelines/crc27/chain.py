"""Run tile, clean, train, heatmap on crc27 as a user would; time them, watch their memory, score the decisions.

``truth.csv`` is given to `w2wpath evaluate` only, after everything else has ended.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SLIDE = "crc09"


def main() -> None:
    """Run the chain in a fresh folder and write ``measured.json`` there."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of crc27")
    parser.add_argument("--out", type=Path, required=True, help="fresh folder for the results")
    parser.add_argument("--accuracy", action="store_true", help="also train ten networks for accuracies (untimed)")
    args = parser.parse_args()
    data = args.data.resolve()
    if not data.is_dir():
        sys.exit(f"{data}: no such folder. Give --data the folder of crc27.")
    args.out.mkdir(parents=True, exist_ok=False)
    config = ["--config", str(HERE.resolve() / "settings.toml")]
    steps = {
        "tile": ["tile", "--cohort", str(data / "cohort.csv"), *config],
        "clean": ["clean", "--folds", "5", "--controls", "2%", "--workers", "2", *config],
        "train": ["train", "-o", "model/"],
        "heatmap": ["heatmap", str(data / "slides" / f"{SLIDE}.svs"), "--model", "model/", "-o", "out/"],
    }
    seconds: dict[str, float] = {}
    summaries = {}
    for name, words in steps.items():
        began = time.perf_counter()
        summaries[name] = _w2wpath(words, args.out)
        if summaries[name] is None:  # a person has looked: crc20, the one slide of P18, is out of focus
            summaries[name] = _w2wpath([*words, "--force"], args.out)
        seconds[name] = round(time.perf_counter() - began, 1)
    seconds["chain"] = round(sum(seconds.values()), 1)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    score = ["evaluate", "--truth", str(data / "truth.csv"), *(["--accuracy"] if args.accuracy else [])]
    measured = {
        "seconds": seconds,
        "peak_memory_mib": round(peak),
        "evaluate": _w2wpath(score, args.out),
        "summaries": summaries,
    }
    (args.out / "measured.json").write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    print(json.dumps({key: measured[key] for key in ("seconds", "peak_memory_mib", "evaluate")}, indent=1))  # noqa: T201 - a script


def _w2wpath(words: list[str], folder: Path) -> object:
    """Return the summary of a command; None where `clean` asks for ``--force``."""
    print("w2wpath", *words, file=sys.stderr, flush=True)  # noqa: T201 - a script
    command = [sys.executable, "-m", "w2wpath", *words, "--json"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE)
    if done.returncode == 1 and words[0] == "clean" and "--force" not in words:
        return None
    done.check_returncode()
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
