"""Where the work is done: in this process, in processes of this machine, or on a Dask cluster.

Work is a list of independent tasks on one Program. Results do not depend on where or in what order
they are done, nor on workers that are lost: their tasks are done again by others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

from r2b import __version__
from r2b.ir.errors import ToolError, UserError
from r2b.ir.program import Program

LOCAL = "local"
ANY_PORT = "127.0.0.1:0"
"""Of Dask's page about itself: its usual port may be another exploration's."""
TIMEOUT = "10s"
"""How long is waited for a scheduler and for a first worker."""
LOST = 5
"""Workers that a task may lose before it counts as what killed them."""
Item = TypeVar("Item")
Result = TypeVar("Result")
Task = Callable[[Program, Item], Result]


class Cluster(Protocol):
    """Does tasks."""

    def run(
        self, task: Callable[[Program, Any], Any], items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Every item's number and result, in the order in which they are done.

        A task that raises gives its exception as the result.
        """
        ...


class Here:
    """Does everything in this process, one after the other."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def run(
        self, task: Callable[[Program, Any], Any], items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """See :class:`Cluster`."""
        for number, item in enumerate(items):
            yield number, _guarded(task, self.program, item)


class Dask:
    """Does tasks on the workers of a Dask scheduler.

    Parameters
    ----------
    client : distributed.Client
    program : Program
        Sent once, packed; each worker unpacks it when it gets its first task, so that one that is
        lost takes nothing with it.
    """

    def __init__(self, client: Any, program: Program) -> None:
        self.client = client
        payload = zlib.compress(pickle.dumps(program), 1)
        self.program = client.submit(_unpack, payload, pure=True)

    def run(
        self, task: Callable[[Program, Any], Any], items: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """See :class:`Cluster`."""
        from distributed import as_completed

        numbers = {
            self.client.submit(
                _guarded, task, self.program, item, pure=False, retries=0, priority=-number
            ): number
            for number, item in enumerate(items)
        }
        for future in as_completed(list(numbers)):
            try:
                # done, but lost with its worker, is done again: this waits for it
                result = future.result()
            except (Exception, asyncio.CancelledError) as error:  # no task raises by itself
                raise ToolError(_lost_task(error)) from error
            yield numbers.pop(future), result


def _guarded(task: Callable[[Program, Any], Any], program: Program, item: Any) -> Any:
    try:
        return task(program, item)
    except Exception as error:
        return error


def _unpack(payload: bytes) -> Program:
    return pickle.loads(zlib.decompress(payload))


def _lost_task(error: object) -> str:
    brief = " ".join(f"{type(error).__name__}: {error}".split())
    return (
        f"the cluster gave a task up ({brief:.200}); what is done is kept: see to the workers, and "
        "go on with --resume"
    )


# ------------------------------------------------------------------------------------------ making


def check_scheduler(scheduler: str, workers: int | None) -> None:
    """Check what can be checked before anything is loaded.

    Raises
    ------
    UserError
        An option is wrong, or a package is missing.
    """
    if scheduler != LOCAL and re.fullmatch(r"(tcp|tls)://[^\s/]+:[0-9]+", scheduler) is None:
        raise UserError(f"--scheduler takes local or tcp://HOST:PORT, not {scheduler!r}")
    if workers is not None and workers < 1:
        raise UserError(f"--workers must be 1 or more, not {workers}")
    if scheduler != LOCAL and workers is not None:
        raise UserError("a remote scheduler has its own workers; leave --workers away")


def require_dask() -> None:
    """Refuse to begin without the packages of the extra.

    Raises
    ------
    UserError
        Dask is not installed.
    """
    if find_spec("distributed") is None:
        raise UserError(
            "several workers need Dask, which is not installed; install it with: pip install "
            "'r2b[explore]', or do without it with --workers 1"
        )


@contextlib.contextmanager
def cluster(scheduler: str, workers: int, program: Program) -> Iterator[Cluster]:
    """Where tasks are done while the block runs.

    ``local`` with one worker is this process, with more a process each; anything else the address
    of a scheduler, whose workers must have this version of r2b.

    Raises
    ------
    ToolError
        The scheduler or its workers cannot be used.
    """
    if scheduler == LOCAL and workers == 1:
        yield Here(program)
        return
    require_dask()
    with _client(scheduler, workers) as client:
        yield Dask(client, program)


@contextlib.contextmanager
def _client(scheduler: str, workers: int) -> Iterator[Any]:
    from dask import config
    from distributed import Client, LocalCluster

    # the user gets our one message in place of a log of retries and lost connections
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    settings = {"distributed.scheduler.allowed-failures": LOST}
    with config.set(settings), contextlib.ExitStack() as stack:
        address: Any = scheduler
        if scheduler == LOCAL:
            address = stack.enter_context(
                LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True,
                    dashboard_address=ANY_PORT, silence_logs=logging.CRITICAL,
                )
            )  # fmt: skip
        try:
            client = stack.enter_context(Client(address, timeout=TIMEOUT))
        except (OSError, TimeoutError) as error:
            raise ToolError(
                f"no Dask scheduler answers at {scheduler}; start one (dask scheduler, and dask "
                "worker with r2b installed), or use --scheduler local"
            ) from error
        if scheduler != LOCAL:
            _check_workers(client, scheduler)
        yield client


def _check_workers(client: Any, scheduler: str) -> None:
    try:
        client.wait_for_workers(1, timeout=TIMEOUT)
    except TimeoutError:
        raise ToolError(
            f"the scheduler at {scheduler} has no workers; start some: dask worker {scheduler}"
        ) from None
    try:
        versions = client.run(version)
    except Exception as error:
        brief = " ".join(f"{type(error).__name__}: {error}".split())
        raise ToolError(
            f"a worker of {scheduler} cannot run r2b ({brief:.120}); install r2b {__version__} "
            "there"
        ) from None
    other = {name: found for name, found in versions.items() if found != __version__}
    if other:
        name, found = next(iter(other.items()))
        raise ToolError(
            f"worker {name} has r2b {found}, here is {__version__}; install the same on all"
        )


def version() -> str:
    """Version of r2b where this runs."""
    return __version__
