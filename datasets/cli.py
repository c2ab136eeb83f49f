"""The one way our commands start: flags from signatures, faults as one sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any


def main(
    components: Callable[..., Any] | Sequence[Callable[..., Any]],
    prog: str,
    positional: bool = False,
    defaults: dict[str, Any] | None = None,
) -> None:
    """Run a command line made of functions (their arguments are the flags, their docstrings the help).

    An `InputError` or a failing file operation becomes one sentence on stderr and exit status 2; Ctrl-C exits
    with 130. Anything else is a bug of ours and keeps its traceback.
    """
    from datasets.records import InputError

    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(pool, "1")  # two threads are ten times slower than one on small graphs and busy cores
    try:
        from jsonargparse import auto_cli

        auto_cli(components, as_positional=positional, prog=prog, set_defaults=defaults)
    except InputError as error:
        _stop(str(error), 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(f"{where}{error.strerror or error}. What was finished before is safe; mend this and run again.", 2)
    except KeyboardInterrupt:
        _stop("Interrupted; run the same command again to go on.", 130)


def _stop(sentence: str, status: int) -> None:
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    sys.exit(status)
