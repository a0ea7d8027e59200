"""Several processes for work that one core does alone, and that leave when whoever started them is gone."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pellucid.errors import RequestError

_WATCH_SECONDS = 2.0
_job: Callable[[Any], Any] | None = None  # of this worker


def spread(job: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[tuple[int, Any]]:
    """(place, job(item)) of every item as it is finished, `workers` at a time, each in a process of its own.

    job: what pickle can send: an instance of a class, or a function, that stands at the top of a module. It is sent
         once to each worker, by value and not through shared memory, of which containers have little

    When the caller goes away, killed or not, the workers leave within two seconds. Raises RequestError for a job that
    cannot be sent.
    """
    try:
        sent = pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RequestError(
            f"This cannot be sent to another process ({error}). Define what it is made of at the top of a module, or "
            f"take workers=1."
        ) from error
    count = max(1, min(workers, len(items)))
    with ProcessPoolExecutor(count, get_context("spawn"), _settle, (os.getpid(), sent)) as pool:
        running = {pool.submit(_do, item): place for place, item in enumerate(items)}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _settle(parent: int, sent: bytes) -> None:
    """A worker draws no bars of its own, and leaves when its parent is gone."""
    global _job
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (open as long as the worker lives)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    _job = pickle.loads(sent)  # noqa: S301  (our own bytes, from the process that started us)


def _do(item: Any) -> Any:
    assert _job is not None
    return _job(item)
