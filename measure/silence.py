"""Quiet for libraries whose C++ code prints to the terminal whatever Python's settings say."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


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
