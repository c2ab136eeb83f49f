"""Start and end of all commands: flags from signatures, and faults as one sentence."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any


def main(
    components: Callable[..., Any] | Sequence[Callable[..., Any]],
    prog: str,
    arguments: list[str] | None = None,
    positional: bool = False,
    defaults: dict[str, Any] | None = None,
    rewrite: Callable[[list[str]], list[str]] | None = None,
) -> Any:
    """Run a command line made of functions: their parameters are the flags, their docstrings the help.

    Args:
        components: a function, or the functions of subcommands.
        prog: name of the program in messages.
        arguments: words of the command line; by default those of the process.
        positional: whether parameters without a default are positional.
        defaults: values of flags that are not given.
        rewrite: changes the words of a command line, in which each flag has one value.

    Returns:
        The function's value.
    """
    for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(pool, "1")  # two threads are ten times slower than one on small graphs and busy cores
    with one_sentence(prog):
        from jsonargparse import auto_cli

        from datasets.arguments import Parser, install
        from datasets.help import help_alone

        install()
        arguments = [_underscored(_text(word)) for word in (sys.argv[1:] if arguments is None else arguments)]
        arguments = help_alone(_files_first(_gathered(arguments)))
        arguments = arguments if rewrite is None else rewrite(arguments)
        options = {"as_positional": positional, "prog": prog, "set_defaults": defaults}
        return auto_cli(components, args=arguments, parser_class=Parser, **options)


def _underscored(argument: str) -> str:
    """A flag with underscores, which signatures have: --budget_ms for --budget-ms."""
    flag, equals, value = argument.partition("=")
    return flag[:2] + flag[2:].replace("-", "_") + equals + value if flag.startswith("--") else argument


def _files_first(arguments: list[str]) -> list[str]:
    """A command line with --config before all other flags and an object before flags of its fields, wherever they were
    written: values from files never replace those of flags."""
    from datasets.arguments import SHORT

    flags: list[list[str]] = [[]]  # first the words before any flag; then each flag with the words after it
    for word in arguments:
        if word.startswith("--"):
            flags.append([])
        flags[-1].append(word)
    names = [words[0].partition("=")[0] if words else "" for words in flags]
    for i, name in enumerate(names):
        is_config, is_file = name == "--config", flags[i] and flags[i][-1].endswith((".yaml", ".yml"))
        fields = (f"{name}.", *(f"--{short}" for short in SHORT if is_file))
        before = (j for j in range(1, i) if (names[j] != name if is_config else names[j].startswith(fields)))
        if len(flags[i]) <= 2 and (place := next(before, None)) is not None:
            flags.insert(place, flags.pop(i))
            names.insert(place, names.pop(i))
    return [word for words in flags for word in words]


_REPEATED = re.compile(r"(--(?:\w+\.)*(shape|size|trips))(?:=(.*))?", re.DOTALL)


def _gathered(arguments: list[str]) -> list[str]:
    """Flags of networks' sizes that are repeated become one, which has all their values; so do the words after
    `--network`, up to a flag or a predictor.pt, divided by line breaks. `--json` and `--all` without a value are
    true."""
    found: dict[str, tuple[str, list[str]]] = {}
    others, words = list[str](), iter(_listed(arguments))
    for word in words:
        match = _REPEATED.fullmatch(word)
        value = match and (match[3] if match[3] is not None else next(words, None))
        if match and value is not None:
            found.setdefault(match[2], (match[1], []))[1].append(value)
        else:
            others.append(word)
    return others + [f"{flag}={' '.join(values)}" for flag, values in found.values()]


def _listed(arguments: list[str]) -> list[str]:
    """Arguments with the words after `--network` as one, and a value for each `--json` and `--all`."""
    found, last = list[str](), ""
    for word, after in zip(arguments, [*arguments[1:], "--"], strict=False):
        value = not word.startswith("--")
        if value and last == "--network" and found[-1] != last and not word.endswith(".pt"):
            found[-1] += f"\n{word}"
            continue
        found.append(f"{word}=true" if word in ("--json", "--all") and after not in ("true", "false") else word)
        last = last if value and last == "--network" and not word.endswith(".pt") else word
    return found


def _text(argument: str) -> str:
    """An argument that can be written to files and terminals.

    Raises:
        InputError: it is no text in UTF-8.
    """
    from datasets.records import InputError

    if any("\ud800" <= character <= "\udfff" for character in argument):
        raise InputError(f"The argument {argument!a} is not text in UTF-8; give names in that encoding.")
    return argument


@contextmanager
def one_sentence(prog: str) -> Iterator[None]:
    """Turn an `InputError`, a wrong flag or a failing file operation into one sentence on stderr and exit status 2.
    Ctrl-C exits with 130, and a closed pipe (`| head`) with 0. Any other exception is a bug and keeps its traceback."""
    try:
        try:
            yield
        finally:
            if sys.exc_info()[0] in (None, SystemExit) and sys.stdout is not None:
                sys.stdout.flush()  # here, since a full disk or a closed pipe cannot be handled later
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        unread = isinstance(error, BrokenPipeError) and _unread()
        _drop_output()
        if unread:  # no reader is left
            sys.exit(0)
        _stop(f"{where}{error.strerror or error}. What was finished before is safe; mend this and run again.", 2)
    except KeyboardInterrupt:
        _stop(INTERRUPTED, 130)
    except MemoryError:
        _stop(OUT_OF_MEMORY, 2)
    except UnicodeDecodeError as error:
        _stop(f"A file is not text in UTF-8 (byte {error.start:,} is not); save it in that encoding.", 2)
    except Exception as error:
        _stop(_explained(error, prog), 2)


OUT_OF_MEMORY = "There is not enough memory for this; ask for less at once, or run it on a larger machine."
INTERRUPTED = "Interrupted; run the same command again to go on."


def _explained(error: Exception, prog: str) -> str:
    """The sentence for a fault in the input; other exceptions are raised again."""
    if lacks := _lacks(error):
        return lacks
    from jsonargparse import ArgumentError

    from datasets.records import InputError

    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):  # torch's wording
        return OUT_OF_MEMORY
    if not isinstance(error, ArgumentError):
        raise error
    try:
        return f"{_sentence(str(error))} See {prog} --help."
    except InputError as better:
        return str(better)


def _lacks(error: BaseException) -> str:
    """The sentence for a package that is not installed here; empty for other exceptions."""
    from datasets.packages import CORE, EXTRAS, not_installed

    if not isinstance(error, ModuleNotFoundError) or error.name not in (*CORE, *EXTRAS):
        return ""
    setup = "; run `make setup` once, and `source .venv/bin/activate` in every terminal" * (error.name in CORE)
    return f"This cannot be done here, because {not_installed(error.name)}{setup}."


def _unread() -> bool:
    """Whether stdout is a pipe without a reader."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, AttributeError):  # it is no file, or there is none
        return False


def _drop_output() -> None:
    """Discard output that stdout does not accept; Python would otherwise report it on exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(sentence: str, status: int) -> None:
    """Print one line, with long words shortened and control characters replaced, and exit with a status."""
    from datasets.files.reading import shortened

    words = [shortened(word, 200) for word in sentence.split()]
    line = "".join(character if character.isprintable() else "?" for character in " ".join(words))
    if len(line) > MOST_CHARACTERS:
        line = f"{line[: MOST_CHARACTERS // 2]} ... {line[-MOST_CHARACTERS // 2 :]}"
    with suppress(OSError):  # stderr has no reader
        print(f"error: {line}", file=sys.stderr, flush=True)
    sys.exit(status)


MOST_CHARACTERS = 1500
"""Longest sentence that is printed; the middle of a longer one is omitted."""


def _interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """End with 130 on Ctrl-C during imports, and with 2 and a sentence where a package is not installed."""
    sentence = INTERRUPTED if issubclass(kind, KeyboardInterrupt) else _lacks(error)
    if not sentence:
        sys.__excepthook__(kind, error, trace)
        return
    with suppress(OSError):
        print(f"error: {sentence}", file=sys.stderr, flush=True)
    os._exit(130 if sentence == INTERRUPTED else 2)


sys.excepthook = _interrupted


def _sentence(message: str) -> str:
    """jsonargparse's indented message of a parsing error as one sentence, with the likely correction of a typo."""
    from datasets.classes import class_named

    if message.startswith("the following arguments are required"):  # prefixed with the command and a group
        message = re.sub(r"[\w.]+\.(\w+)", r"\1", message)
    if loop := re.search(r"Config file loop detected: (\S+)", message):  # its wording for any fault inside of a file
        message = f"{loop[1]}: {_fault_in(loop[1])}"
    if denied := re.search(r"(?:Importing|Problem with given class_path) '([\w.]+)'", message):
        class_named(denied[1], object)  # raises with the reason
    if abstract := re.search(r"Expected an instantiatable class, but ([\w.]+) is abstract", message):
        lacking = ", ".join(sorted(getattr(class_named(abstract[1], object), "__abstractmethods__", ())))
        return f"{abstract[1]} lacks {lacking}, so it cannot be used; name a class that has these methods."
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
        expected = [
            word or _PLAIN.get(kind, f"a file that describes a {kind}") for word, kind in kinds if kind != "NoneType"
        ]
        return f"--{union[1]}: '{union[3]}' is {'neither ' if expected[1:] else 'not '}{' nor '.join(expected)}."
    lines = [line.strip(" -") for line in message.splitlines() if line.strip() and "Expected a path" not in line]
    text = " ".join(line if line.endswith(":") else line.rstrip(".") + "." for line in lines)
    text = re.sub(r'Parser key "([\w.]+)":', r"--\1:", text, count=1)
    text = re.sub(r"Expected a typing\.Literal\[([^\]]*)\]\. Got value: (\S*)\.", r"'\2' is none of \1.", text)
    return re.sub(r"a <class '(\w+)'>", r"a value of type \1", re.sub(r'Parser key "([\w.]+)":', r"field '\1':", text))


_PLAIN = {"float": "a finite number", "int": "a whole number", "bool": "true or false", "str": "a text"}


def _fault_in(path: str) -> str:
    """The fault in the object that a YAML file describes."""
    from datasets.arguments import HINT, Parser
    from datasets.classes import class_named
    from datasets.files.reading import read_yaml
    from datasets.records import InputError

    tree = read_yaml(Path(path), HINT)
    if not isinstance(tree, dict) or not isinstance(tree.get("class_path"), str):
        return "it names no class; begin it with class_path, as the files of configs do"
    if not is_dataclass(cls := class_named(tree["class_path"], object)):
        return f"'{tree['class_path']}' is nothing that a file may describe"
    parser = Parser()
    parser.add_argument("--it", type=cls)
    try:
        parser.parse_object({"it": tree})
    except InputError:
        raise
    except Exception as error:  # hostile values make jsonargparse raise nearly anything
        return str(error).replace('Parser key "it":', "").strip()
    return "it is not what is asked for here"
