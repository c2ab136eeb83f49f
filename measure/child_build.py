"""Builds in a child process: a converter or an engine that crashes ends one build, not a campaign."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from datasets.records import InputError
from measure.silence import children_ignore_interrupts


class BuildFailed(RuntimeError):
    """A build in a child process crashed, took too long or raised; the text says which."""


def build_in_child(build: Callable[[], Path], runtime: str, timeout: float = 600.0) -> Path:
    """Run a build in a new child process, which takes seconds to start, and return its path.

    Args:
        build: a function that can be pickled, such as a method of a backend with its arguments.
        runtime: name of the backend in errors.
        timeout: in seconds.

    Raises:
        BuildFailed: the child was killed by a signal, left without an answer, raised, or took `timeout` seconds.
        InputError: the child raised one.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads and locks of loaded runtimes
    answer, end = context.Pipe(duplex=False)
    process = context.Process(target=_build, args=(end, build), daemon=True)
    with children_ignore_interrupts():
        process.start()
    end.close()  # the child's copy alone is left, so that its death reads as the end of the answer
    try:
        result = answer.recv() if answer.poll(timeout) else f"took more than {timeout:g} s"
    except EOFError:
        process.join()
        result = _death(process.exitcode or 0)
    finally:
        process.kill()
        process.join()
    if isinstance(result, Path):
        return result
    if isinstance(result, InputError):
        raise result
    raise BuildFailed(f"The build for {runtime} {result}.")


def _build(end: Connection, build: Callable[[], Path]) -> None:
    try:
        end.send(build())
    except InputError as error:
        end.send(error)
    except Exception as error:
        end.send(f"raised {type(error).__name__}: {error}")


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code} and no artefact"
    return f"was killed by {signal.Signals(-code).name} ({signal.strsignal(-code)})"
