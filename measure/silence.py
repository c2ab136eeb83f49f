"""Libraries that print to the terminal whatever Python's settings say, or take all cores unless told before; children
that would print a traceback on Ctrl-C."""

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
    """Nothing written to standard output or error inside is seen, unless an exception leaves it."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(saved[1], said.read()[-5000:])
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for copy, stream in zip(saved, (1, 2), strict=True):
                os.dup2(copy, stream)
                os.close(copy)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that are started inside do not hear Ctrl-C, which is for the one that started them and ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def one_xla_thread() -> None:
    """Tell XLA to use one thread; JAX reads that only once, and Keras loads JAX where it is installed.

    Raises:
        InputError: JAX is there already and was told otherwise.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if XLA_ONE_THREAD not in flags:
        if "jax" in sys.modules:
            raise InputError(f"JAX was loaded before it was told to use one thread; set XLA_FLAGS='{XLA_ONE_THREAD}'.")
        os.environ["XLA_FLAGS"] = f"{flags} {XLA_ONE_THREAD}".strip()
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
