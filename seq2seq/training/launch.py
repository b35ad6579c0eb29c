"""Processes of distributed training on this machine, one for each device; the first one starts the others.

Lightning would run the script again in each process. Under Hydra, each process would then compose the config, create
the run directory and read the data again, and in a sweep it would run the wrong job. Here the other processes receive
the objects of the first one instead.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed as dist

from seq2seq.compat.python import start_resource_tracker
from seq2seq.config.extensions import current, use
from seq2seq.errors import UserError
from seq2seq.runtime.interrupts import end_with
from seq2seq.training.interruption import Interrupted

log = logging.getLogger(__name__)

PLACE = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")
PATIENCE = 20.0  # seconds that the other processes have to end after this one
USER_ERROR, INTERRUPTED, TERMINATED = 64, 130, 143  # exit codes whose cause rank 0 reports itself


def is_launched() -> bool:
    """Return True if a launcher (this module, torchrun, Slurm) started this process as one of several."""
    return "LOCAL_RANK" in os.environ or "SLURM_PROCID" in os.environ


@contextmanager
def others(count: int, run: Callable[..., Any], *args: Any) -> Iterator[None]:
    """Run ``count - 1`` other processes while the block runs as rank 0.

    Args:
        count: Number of processes, including this one.
        run: Function that each other process calls; it must be importable.
        args: Its arguments.

    Yields:
        Nothing; the other processes are running.
    """
    # Remember the settings that change below.
    place = {"NODE_RANK": "0", "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    before, threads = {name: os.environ.get(name) for name in PLACE}, torch.get_num_threads()
    spawn = multiprocessing.get_context("spawn")
    patience = 0.0
    # Pickle here: multiprocessing would share the memory of the parameters between the processes.
    work = pickle.dumps((current(), run, args))
    processes = []
    try:
        # Start the processes. Each reads its rank from the environment.
        for rank in range(1, count):
            os.environ.update(place, LOCAL_RANK=str(rank))
            process = spawn.Process(target=_work, args=(work, os.getpid()), name=f"rank {rank}")
            processes.append(process)
            with _interrupts_are_ours():
                process.start()
        os.environ.update(place, LOCAL_RANK="0")
        # Run the work of rank 0.
        yield
        patience = PATIENCE
    except (Interrupted, UserError):  # the other processes end with the same error
        patience = PATIENCE
        raise
    finally:
        if patience and dist.is_initialized():
            dist.destroy_process_group()
        # Wait for the other processes, and kill those that do not end.
        for process in processes:
            if process.pid is None:
                continue
            process.join(patience)
            if process.exitcode is None:
                process.kill()
                process.join()
            elif process.exitcode not in (0, USER_ERROR, INTERRUPTED, TERMINATED):
                log.error("the process of %s ended with exit code %s", process.name, process.exitcode)
        # Restore the settings; Lightning has divided the CPU cores between the processes.
        torch.set_num_threads(threads)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _interrupts_are_ours() -> Iterator[None]:
    """Block Ctrl-C in processes that start in the block: this process receives it, and tells or ends them."""
    start_resource_tracker()  # if multiprocessing started it below, it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(work: bytes, parent: int) -> None:
    """Run the pickled function with its arguments in another process; end when ``parent`` ends."""
    end_with(parent)
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    extensions, run, args = pickle.loads(work)
    use(extensions)
    try:
        run(*args)
    except UserError:  # rank 0 reports it
        raise SystemExit(USER_ERROR) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _free_port() -> int:
    """Return a free TCP port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
