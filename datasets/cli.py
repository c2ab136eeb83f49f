"""The one way our commands start: flags from signatures, faults as one sentence."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def main(
    components: Callable[..., Any] | Sequence[Callable[..., Any]],
    prog: str,
    arguments: list[str] | None = None,
    positional: bool = False,
    defaults: dict[str, Any] | None = None,
) -> Any:
    """Run a command line made of functions: their arguments are the flags, their docstrings the help."""
    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(pool, "1")  # two threads are ten times slower than one on small graphs and busy cores
    given = sys.argv[1:] if arguments is None else arguments
    arguments = [_underscored(text) for text in given]
    with one_sentence(prog):
        from jsonargparse import auto_cli

        from datasets.arguments import Parser, install

        install()
        options = {"as_positional": positional, "prog": prog, "set_defaults": defaults}
        return auto_cli(components, args=arguments, parser_class=Parser, **options)


def _underscored(argument: str) -> str:
    """A flag as its signature spells it: --budget-ms is --budget_ms."""
    flag, equals, value = argument.partition("=")
    return flag[:2] + flag[2:].replace("-", "_") + equals + value if flag.startswith("--") else argument


@contextmanager
def one_sentence(prog: str) -> Iterator[None]:
    """An `InputError`, a bad flag or a failing file operation becomes one sentence on stderr and exit status 2; Ctrl-C
    exits with 130. Anything else is a bug of ours and keeps its traceback."""
    from jsonargparse import ArgumentError

    from datasets.records import InputError

    try:
        yield
    except ArgumentError as error:
        try:
            sentence = f"{_sentence(str(error))} See {prog} --help."
        except InputError as better:
            sentence = str(better)
        _stop(sentence, 2)
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


def _sentence(message: str) -> str:
    """jsonargparse's indented account of a parsing error as one sentence, with the likely spelling of a typo."""
    from datasets.classes import class_named

    if loop := re.search(r"Config file loop detected: (\S+)", message):  # how it words any fault inside of a file
        message = f"{loop[1]}: {_fault_in(loop[1])}"
    if denied := re.search(r"Importing '([\w.]+)' is not allowed", message):
        class_named(denied[1], object)  # says why not
    if typo := re.search(
        r"class_path '([\w.]+)':\s*(?:Validation failed: )?Option '(\w+)[\w.]*' is not accepted", message
    ):
        path, wrong = typo.groups()
        known = list(inspect.signature(class_named(path, object)).parameters)
        likely = difflib.get_close_matches(wrong, known, 1)
        meant = f"; did you mean '{likely[0]}'?" if likely else "."
        where = f"{loop[1]}: " if loop else ""
        return f"{where}{path.rpartition('.')[2]} has no field '{wrong}'{meant} Its fields are {', '.join(known)}."
    if missing := re.search(r"Expected a path but (\S+\.ya?ml) either not accessible", message):
        broken = Path(missing[1]).is_file()
        return f"{missing[1]} is not valid YAML." if broken else f"There is no file {missing[1]}."
    if union := re.search(r'"([\w.]+)":.*Subtypes: (\[.*?\])\s.*Given value: (\S+)', message, re.DOTALL):
        kinds = re.findall(r"Literal\['(\w+)'\]|(\w+)'>", union[2])
        asked = [word or f"a file that describes a {kind}" for word, kind in kinds]
        return f"--{union[1]}: '{union[3]}' is neither {' nor '.join(asked)}."
    lines = [line.strip(" -") for line in message.splitlines() if line.strip() and "Expected a path" not in line]
    text = " ".join(line if line.endswith(":") else line.rstrip(".") + "." for line in lines)
    text = re.sub(r'Parser key "([\w.]+)":', r"--\1:", text, count=1)
    return re.sub(r"a <class '(\w+)'>", r"a value of type \1", re.sub(r'Parser key "([\w.]+)":', r"field '\1':", text))


def _fault_in(path: str) -> str:
    """What is wrong with the object that a YAML file describes."""
    from datasets.arguments import HINT, Parser
    from datasets.classes import class_named
    from datasets.files.reading import read_yaml
    from datasets.records import InputError

    tree = read_yaml(Path(path), HINT)
    if not isinstance(tree, dict) or not isinstance(tree.get("class_path"), str):
        return "it names no class; begin it with class_path, as the files of configs do"
    parser = Parser()
    parser.add_argument("--it", type=class_named(tree["class_path"], object))
    try:
        parser.parse_object({"it": tree})
    except InputError:
        raise
    except Exception as error:  # hostile values make jsonargparse raise nearly anything
        return str(error).replace('Parser key "it":', "").strip()
    return "it is not what is asked for here"
