"""Work done by actors on a Ray cluster, each of which makes its tool once and keeps it; answers come in order.

The driver holds a few answers per actor, so that its memory does not grow. A worker that is killed starts again, and
what it was at with it; since a share's file is moved into place when it is whole, nothing is lost or done twice.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from focusmap.basics import InputError, require
from focusmap.scale.shares import Share, Tally

if TYPE_CHECKING:
    from ray import ObjectRef

IN_FLIGHT, AHEAD = 2, 8
"""Per actor: what it has before it, and what may be done before the first that is awaited."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Tool: TypeAlias = Callable[[Share], Tally]
"""Answers a share, writes its files and says how many rows it has."""


@dataclass(frozen=True)
class Cluster:
    """Where work is done.

    Parameters
    ----------
    address
        Of a Ray cluster that shares the disk; None starts one on this machine.
    n_workers
        Actors with a processor core each; None: as many as the cluster has cores.
    """

    address: str | None = None
    n_workers: int | None = None


class _Worker:
    """An actor: makes its tool once."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        import cv2

        cv2.setNumThreads(1)
        self._tool = make()

    def work(self, item: Any) -> Any:
        """Return what the tool makes of an item."""
        return self._tool(item)


def worked_through(
    shares: Iterable[Share], out: Path, make: Callable[[], Tool], cluster: Cluster = Cluster()
) -> Iterator[Tally]:
    """Yield the tally of each share; those whose file is in `out` are passed over, and yield nothing.

    `out` lies on a disk that all machines of the cluster share; otherwise as `answers_in_order`.
    """
    return answers_in_order((share for share in shares if not share.file(out).is_file()), make, cluster)


def mapped(
    function: Callable[[Item], Answer], items: Iterable[Item], n: int, cluster: Cluster = Cluster()
) -> Iterator[Answer]:
    """Yield what a function makes of each item, in order; `n` of them are sent together."""
    rest = iter(items)
    chunks = iter(lambda: list(islice(rest, n)), [])
    for found in answers_in_order(chunks, lambda: lambda chunk: [function(one) for one in chunk], cluster):
        yield from found


def answers_in_order(
    items: Iterable[Item],
    make: Callable[[], Callable[[Item], Answer]],
    cluster: Cluster = Cluster(),
    n_long: int | None = None,
) -> Iterator[Answer]:
    """Yield the answer to each item, in order.

    Parameters
    ----------
    items
        Taken from the iterator only when an actor can have one.
    make
        Called once in each actor, where it makes what answers.
    n_long
        How many items there are, where each takes long: no more actors than items then, each with its share of the
        cores, and none has an item waiting.

    Raises
    ------
    InputError, MissingPartError
        As `connected`.
    """
    with connected(cluster) as n_workers:
        import ray

        n_workers = min(n_workers, n_long or n_workers)
        n_cores, in_flight = (1, IN_FLIGHT) if n_long is None else (_share_of_cores(n_workers), 1)
        remote: Any = ray.remote(num_cpus=n_cores, max_restarts=-1, max_task_retries=-1)(_Worker)
        actors = [remote.remote(make) for _ in range(n_workers)]
        try:
            yield from _in_order(items, deque(actors * in_flight), AHEAD * n_workers)
        finally:
            # What nobody waits for any more is not gone on with.
            for actor in actors:
                ray.kill(actor)


def _in_order(items: Iterable[Any], idle: deque[Any], n_ahead: int) -> Iterator[Any]:
    running: dict[ObjectRef[Any], Any] = {}
    waiting: deque[ObjectRef[Any]] = deque()
    for item in items:
        while not idle:
            _wait(list(running), running, idle)
        actor = idle.popleft()
        waiting.append(reference := actor.work.remote(item))
        running[reference] = actor
        while waiting and (waiting[0] not in running or len(waiting) > n_ahead):
            yield _answer(waiting.popleft(), running, idle)
    while waiting:
        yield _answer(waiting.popleft(), running, idle)


def _share_of_cores(n_workers: int) -> int:
    """Return how many cores each of so many actors can have; Ray lets each compute with as many threads."""
    import ray

    of_each = [int(node["Resources"].get("CPU", 0)) for node in cast(Any, ray).nodes() if node["Alive"]]
    return next((n for n in range(max(of_each), 1, -1) if sum(cores // n for cores in of_each) >= n_workers), 1)


def _answer(reference: "ObjectRef[Any]", running: "dict[ObjectRef[Any], Any]", idle: deque[Any]) -> Any:
    """Return the answer that is awaited; raises what its actor raised."""
    import ray

    if reference in running:
        _wait([reference], running, idle)
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def _wait(awaited: "list[ObjectRef[Any]]", running: "dict[ObjectRef[Any], Any]", idle: deque[Any]) -> None:
    """Wait until one of the answers is there, and note its actor as idle."""
    import ray

    (done,), _ = ray.wait(awaited, num_returns=1)
    idle.append(running.pop(done))


def on_cluster(cluster: Cluster | None) -> AbstractContextManager[object]:
    """Stay connected to a cluster, where there is one, for all that is asked of it."""
    return nullcontext() if cluster is None else connected(cluster)


@contextmanager
def connected(cluster: Cluster) -> Iterator[int]:
    """Yield how many actors there are to be; within the block all work uses the one connection.

    Raises
    ------
    InputError
        If there is no cluster at the address.
    MissingPartError
        If Ray is not installed.
    """
    require("ray")
    import ray

    # Ray may end a process that is connected anew after its cluster has gone.
    is_first = not ray.is_initialized()
    if is_first:
        _connect(cluster)
    try:
        n_cores = max(1, int(cast(Any, ray).cluster_resources().get("CPU", 1)))
        yield min(cluster.n_workers or n_cores, n_cores)
    finally:
        if is_first:
            ray.shutdown()


def _connect(cluster: Cluster) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    n_cpus = cluster.n_workers or os.cpu_count()
    given = {"address": cluster.address} if cluster.address else {"num_cpus": n_cpus, "include_dashboard": False}
    try:
        ray.init(**given, log_to_driver=False, logging_level="error")  # type: ignore[arg-type]
    except ConnectionError as error:
        raise InputError(
            f"{cluster.address}: no Ray cluster answers there. Start one with: ray start --head"
        ) from error
