"""A search by several processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import warnings
from typing import TYPE_CHECKING, Any, cast

import fusedlstm
from fusedlstm import backends, random
from fusedlstm.tuner.work import left_over, work

if TYPE_CHECKING:
    from fusedlstm.tuner.tuner import Tuner


def work_in_processes(tuner: Tuner, jobs: int, args: tuple[Any, ...], kwargs: dict[str, Any], shown: bool) -> None:
    """Do trials in processes of their own until there are no more.

    Raises
    ------
    Exception
        What ended one of them; the others are stopped then.

    Warns
    -----
    UserWarning
        If one was killed. Its trial is done again, but not for ever.
    """
    _check_storage(tuner)
    context = multiprocessing.get_context()
    threads = max(1, fusedlstm.get_num_threads() // jobs) if backends.get_backend() == "c" else None
    kwargs = {**kwargs, "verbose": 0}  # progress bars of several models would mix
    again = True
    while again:
        tuner._close()  # a fork must not share connections
        lost = _round(tuner, context, jobs, threads, args, kwargs, shown)
        if lost:
            warnings.warn(f"{tuner.label}: a process was lost with exit code {lost[0]}", stacklevel=3)
        again = bool(lost) and left_over(tuner)


def _check_storage(tuner: Tuner) -> None:
    from fusedlstm.tuner.studies import optuna

    if isinstance(tuner._given_storage, optuna.storages.InMemoryStorage):
        raise ValueError(f"{tuner.label}: expected a storage that processes can share with n_jobs, got one in memory")


def _round(
    tuner: Tuner,
    context: Any,
    jobs: int,
    threads: int | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    shown: bool,
) -> list[int]:
    """Start the processes and wait for them; returns the exit codes of those that were lost."""
    processes: dict[Any, Any] = {}
    try:
        for _ in range(jobs):
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(target=_job, args=(sending, tuner, threads, args, kwargs, shown), daemon=True)
            try:
                process.start()
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise TypeError(
                    f"{tuner.label}: expected hypermodel, data and callbacks to be picklable for n_jobs > 1, as "
                    f"processes start by {context.get_start_method()!r} here: {error}"
                ) from error
            finally:
                sending.close()
            processes[receiving] = process
        lost = []
        waiting = dict(processes)
        while waiting:
            for receiving in multiprocessing.connection.wait(list(waiting)):
                process = waiting.pop(receiving)
                try:
                    ended_by: Exception | None = cast(Any, receiving).recv()
                except EOFError:  # killed
                    process.join()
                    lost.append(process.exitcode)
                    continue
                if ended_by is not None:
                    raise ended_by
        return lost
    finally:
        for receiving, process in processes.items():
            process.terminate() if process.is_alive() and _not_done(receiving) else None
            process.join()
            receiving.close()
            process.close()


def _not_done(receiving: Any) -> bool:
    return not receiving.poll()


def _job(
    sending: Any, tuner: Tuner, threads: int | None, args: tuple[Any, ...], kwargs: dict[str, Any], shown: bool
) -> None:
    """What a process does: it sends None at the end, or the exception that ended it."""
    if threads is not None:
        fusedlstm.set_num_threads(threads)
    random._base = int.from_bytes(os.urandom(8), "little")  # a fork has its parent's
    error: BaseException | None = None
    try:
        work(tuner, args, kwargs, shown)
    except KeyboardInterrupt:
        return
    except Exception as caught:
        error = caught
    with contextlib.suppress(BrokenPipeError):
        try:
            sending.send(error)
        except Exception:
            sending.send(RuntimeError(f"{type(error).__name__}: {error}"))
