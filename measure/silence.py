"""Silences libraries that write to the terminal directly or take all cores, and child processes on Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from datasets.records import InputError


@contextmanager
def quiet() -> Iterator[None]:
    """Discard all writes to standard output and error, unless an exception is raised."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 1)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except BaseException:
            captured.seek(0)
            os.write(saved[1], captured.read()[-5000:])
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for copy, stream in zip(saved, (1, 2), strict=True):
                os.dup2(copy, stream)
                os.close(copy)


@contextmanager
def children_ignore_interrupts() -> Iterator[None]:
    """Processes that are started within ignore Ctrl-C; it is for their parent, which then ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_XLA_FLAGS = "--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={threads}"


def fix_xla_threads(threads: int = 1) -> None:
    """Restrict XLA to a number of threads; JAX reads it only once, and Keras imports JAX where it is installed.

    Raises:
        InputError: JAX was imported before with other settings.
    """
    wanted = _XLA_FLAGS.format(eigen=str(threads > 1).lower(), threads=threads)
    flags = os.environ.get("XLA_FLAGS", "")
    if not flags.endswith(wanted):
        if "jax" in sys.modules:
            raise InputError(
                f"JAX was imported before it was restricted to {threads} threads; set XLA_FLAGS='{wanted}', or measure "
                "in a new process."
            )
        os.environ["XLA_FLAGS"] = f"{flags} {wanted}".strip()
        os.environ["NPROC"] = str(threads)  # XLA's pool has as many threads
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
