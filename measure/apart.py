"""Builds in a child process: a converter or an engine that crashes ends one build, not a campaign."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.records import Architecture, InputError
from measure.build.weights import Weights
from measure.silence import deaf_children

if TYPE_CHECKING:
    from measure.base import Backend


class BuildFailed(RuntimeError):
    """A build apart crashed, took too long or raised; the text says which."""


def build_apart(
    backend: Backend, network: Architecture, weights: Weights, folder: Path, timeout: float = 600.0
) -> Path:
    """What `backend.build` writes, built by a fresh child process (seconds to start: it imports anew).

    Raises:
        BuildFailed: the child was killed by a signal, left without an answer, raised, or took `timeout` seconds.
        InputError: the child raised one.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads and locks of loaded runtimes
    answer, end = context.Pipe(duplex=False)
    process = context.Process(target=_build, args=(end, backend, network, weights, folder), daemon=True)
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
    raise BuildFailed(f"The build for {backend.runtime} {told}.")


def _build(end: Connection, backend: Backend, network: Architecture, weights: Weights, folder: Path) -> None:
    try:
        end.send(backend.build(network, weights, folder))
    except InputError as error:
        end.send(error)
    except Exception as error:
        end.send(f"raised {type(error).__name__}: {error}")


def _death(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code} and no artefact"
    return f"was killed by {signal.Signals(-code).name} ({signal.strsignal(-code)})"
