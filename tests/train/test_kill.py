"""Training survives SIGKILL; ``make kill`` does it ten times."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill.py"


def test_killed_training_ends_with_the_same_bytes():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--kills", "3", "--seed", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("3 kills in ")
    assert done.stdout.endswith(" files: the same bytes, nothing half-written\n")
