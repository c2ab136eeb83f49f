"""Builds in a child process: a converter or an engine that crashes ends one build, not a campaign."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from datasets.records import InputError
from measure.silence import deaf_children


class BuildFailed(RuntimeError):
    """A build apart crashed, took too long or raised; the text says which."""


def build_apart(build: Callable[[], Path], runtime: str, timeout: float = 600.0) -> Path:
    """The path that `build` returns in a fresh child process (seconds to start: it imports anew).

    Args:
        build: can be pickled, as a method of a backend with its arguments can.
        runtime: names the backend where something goes wrong.
        timeout: in seconds.

    Raises:
        BuildFailed: the child was killed by a signal, left without an answer, raised, or took `timeout` seconds.
        InputError: the child raised one.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads and locks of loaded runtimes
    answer, end = context.Pipe(duplex=False)
    process = context.Process(target=_build, args=(end, build), daemon=True)
    with deaf_children():
        process.start()
    end.close()  # the child's copy alone is left, so that its death reads as the end of the answer
    try:
        told = answer.recv() if answer.poll(timeout) else f"took more than {timeout:g} s"
    except EOFError:
        process.join()
        told = _death(process.exitcode or 0)
    finally:
        process.kill()
        process.join()
    if isinstance(told, Path):
        return told
    if isinstance(told, InputError):
        raise told
    raise BuildFailed(f"The build for {runtime} {told}.")


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
