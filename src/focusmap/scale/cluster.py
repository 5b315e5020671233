"""Shares worked through by actors on a Ray cluster, each of which makes its tool once and keeps it.

The driver holds a few shares per actor and nothing of the answers, so that its memory does not grow. A worker that is
killed starts again and its share with it; since a share's file is moved into place when it is whole, nothing is lost
or done twice.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from focusmap.errors import InputError
from focusmap.installation import require
from focusmap.scale.shares import Share, Tally

if TYPE_CHECKING:
    from ray import ObjectRef

IN_FLIGHT = 2
"""Shares per actor: the next is there when one is done."""

Tool = Callable[[Share], Tally]
"""Answers a share, writes its files and says how many rows it has."""


@dataclass(frozen=True)
class Cluster:
    """Where shares are worked through.

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

    def __init__(self, make: Callable[[], Tool]) -> None:
        import torch

        torch.set_num_threads(1)
        self._tool = make()

    def work(self, share: Share) -> tuple[str, Tally]:
        """Return the share's name and its tally."""
        return share.name, self._tool(share)

    def pid(self) -> int:
        """Return the process that this actor lives in."""
        return os.getpid()


def worked_through(
    shares: Iterable[Share], out: Path, make: Callable[[], Tool], cluster: Cluster = Cluster()
) -> Iterator[Tally]:
    """Yield the tally of each share as it is done; those whose file is there are passed over, and yield nothing.

    Parameters
    ----------
    shares
        Taken from the iterator only when an actor can have one.
    out
        Where their files lie: on a disk that all machines of the cluster share.
    make
        Called once in each actor, where it makes what answers.

    Raises
    ------
    InputError
        If there is no cluster at the address.
    MissingPartError
        If Ray is not installed.
    """
    require("ray")
    import ray

    left = (share for share in shares if not share.file(out).is_file())
    with _connected(cluster) as n_workers:
        remote: Any = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Worker)
        actors = [remote.remote(make) for _ in range(n_workers)]
        running: dict[ObjectRef[Any], Any] = {}
        for share in left:
            idle = next((one for one in actors if list(running.values()).count(one) < IN_FLIGHT), None)
            if idle is None:
                idle, tally = _next_done(running)
                yield tally
            running[idle.work.remote(share)] = idle
        while running:
            yield _next_done(running)[1]


def _next_done(running: "dict[ObjectRef[Any], Any]") -> tuple[Any, Tally]:
    """Return the actor that is done first, and its tally; raises what it raised."""
    import ray

    (done,), _ = ray.wait(list(running), num_returns=1)
    actor = running.pop(done)
    try:
        return actor, ray.get(done)[1]
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


@contextmanager
def _connected(cluster: Cluster) -> Iterator[int]:
    """Yield how many actors there are to be, while this program is connected."""
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
    try:
        yield cluster.n_workers or max(1, int(cast(Any, ray).cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()
