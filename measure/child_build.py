"""Calls in a child process: a converter or an engine that crashes ends one build, not a campaign."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar, cast

from datasets.records import InputError
from measure.silence import children_ignore_interrupts

T = TypeVar("T")


class ChildFailed(RuntimeError):
    """A child process crashed, took too long or raised; the text says which."""


class BuildFailed(ChildFailed):
    """A build in a child process failed."""


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
    try:
        return call_in_child(build, timeout, "artefact")
    except ChildFailed as error:
        raise BuildFailed(f"The build for {runtime} {error}.") from None


def call_in_child(call: Callable[[], T], timeout: float, result: str = "answer") -> T:
    """Call a function in a new child process, and return what it returns.

    Args:
        call: a function that can be pickled; so can what it returns.
        timeout: in seconds.
        result: a noun for what it returns, in errors.

    Raises:
        ChildFailed: what became of the child, as the end of a sentence.
        InputError: the child raised one.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads and locks of loaded runtimes
    answer, end = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(end, call), daemon=True)
    with children_ignore_interrupts():
        process.start()
    end.close()  # the child's copy alone is left, so that its death reads as the end of the answer
    try:
        done, value = answer.recv() if answer.poll(timeout) else (False, f"took more than {timeout:g} s")
    except EOFError:
        process.join()
        done, value = False, _death(process.exitcode or 0, result)
    finally:
        process.kill()
        process.join()
    if done:
        return cast(T, value)
    raise value if isinstance(value, InputError) else ChildFailed(value)


def _call(end: Connection, call: Callable[[], object]) -> None:
    try:
        end.send((True, call()))
    except InputError as error:
        end.send((False, error))
    except Exception as error:
        end.send((False, f"raised {type(error).__name__}: {error}"))


def _death(code: int, result: str) -> str:
    if code >= 0:
        return f"ended with exit code {code} and no {result}"
    return f"was killed by {signal.Signals(-code).name} ({signal.strsignal(-code)})"
