"""A cluster gives what one process gives, also when a worker is killed in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from r2b.explore.cluster import Here, cluster
from tests.explore.conftest import COMMAND, SPACE, contents

ROOT = Path(__file__).parents[2]
LONGEST = 240
"""Seconds that anything may take here; machines may be busy."""


@contextlib.contextmanager
def process(*command: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the block, whatever happens."""
    environment = {
        **os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30s",
    }  # fmt: skip
    with (cwd / "log").open("ab") as log:
        started = subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=log)
        try:
            yield started
        finally:
            started.kill()
            started.wait()


def wait_for(what, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + LONGEST
    while not what():
        assert process.poll() is None, f"ended with status {process.returncode}"
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.02)


@pytest.fixture
def scheduler(tmp_path) -> Iterator[str]:
    """A scheduler without workers, and its address."""
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
               "--port", "0", "--no-dashboard", "--no-show",
               "--scheduler-file", str(file)]  # fmt: skip
    with process(*command, cwd=tmp_path) as started:
        wait_for(file.exists, started)
        yield json.loads(file.read_text())["address"]


@contextlib.contextmanager
def worker(address: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that is one process, so that killing it kills what it does."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny",
               "--nthreads", "1", "--no-dashboard", "--death-timeout", "60"]  # fmt: skip
    with process(*command, cwd=folder) as started:
        yield started


def done(folder: Path) -> int:
    """Chunks that are kept."""
    return len(list((folder / "state").glob("0*.json")))


def test_a_worker_that_is_killed_in_the_middle(scheduler, model, explored, tmp_path):
    """The exploration is complete, and every byte is that of a run in one process."""
    folder = tmp_path / "plans"
    command = [*COMMAND, str(model), *SPACE, "--scheduler", scheduler, "-q", "-o", str(folder)]
    with (
        worker(scheduler, tmp_path) as first,
        worker(scheduler, tmp_path) as second,
        process(*command, cwd=tmp_path) as running,
    ):
        wait_for(lambda: done(folder) >= 6, running)
        assert (first.poll(), second.poll()) == (None, None)
        os.kill(first.pid, signal.SIGKILL)
        killed_at = done(folder)
        assert first.wait(LONGEST) == -signal.SIGKILL
        assert running.wait(LONGEST) == 0, (tmp_path / "log").read_text()
        assert second.poll() is None
    total = done(folder)
    assert killed_at < total, "it was over before the worker was killed"
    assert contents(folder) == contents(explored)


def test_a_scheduler_without_workers(scheduler, model, tmp_path):
    """One message, status 2, and the way out."""
    folder = tmp_path / "plans"
    code = (
        "import r2b.explore.cluster as c; c.TIMEOUT = '2s'\n"
        "from r2b.cli_explore import main; raise SystemExit(main())"
    )
    command = [sys.executable, "-c", code, str(model), *SPACE, "--scheduler", scheduler]
    ended = subprocess.run(
        [*command, "-o", str(folder)], capture_output=True, text=True, timeout=LONGEST, check=False,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    error = " ".join(ended.stderr.split())
    assert (ended.returncode, error) == (
        2,
        f"error: the scheduler at {scheduler} has no workers; start some: dask worker {scheduler}",
    )


def double(program, item):
    if item == 3:
        raise ZeroDivisionError("three")
    return 2 * item


def test_here_and_in_processes(program):
    """Local workers give what this process gives; what a task raises is its result."""
    found = {}
    for workers in (1, 2):
        with cluster("local", workers, program) as where:
            assert isinstance(where, Here) == (workers == 1)
            results = dict(where.run(double, range(6)))
        assert isinstance(results[3], ZeroDivisionError)
        found[workers] = {k: value for k, value in results.items() if k != 3}
    assert found[1] == found[2] == {0: 0, 1: 2, 2: 4, 4: 8, 5: 10}
