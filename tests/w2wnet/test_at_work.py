"""A fold is at work while a process that lives holds its lock, and no longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from w2wpath.w2wnet.at_work import at_work, is_at_work

HOLD = """
import sys, time
from pathlib import Path
from w2wpath.w2wnet.at_work import at_work
with at_work(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_is_held_while_working_and_gone_after(tmp_path: Path) -> None:
    path = tmp_path / "fold-0.lock"
    assert not is_at_work(path)
    with at_work(path):
        assert is_at_work(path)
        with at_work(path):  # another process may have begun as well: both work
            assert is_at_work(path)
        assert is_at_work(path)
    assert not path.exists()
    with pytest.raises(KeyError), at_work(path):
        raise KeyError
    assert not path.exists()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fold-0.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_at_work(path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert path.exists()
    assert not is_at_work(path)
