"""jsonargparse with Gnomon's rules: classes that may be named, and limits of configurations.

Seven settings apply to all input of jsonargparse: its list of packages that may be imported, checked before an import;
a parser that instantiates classes only; a loader of YAML text with limits; the reading of files; that imports for type
checkers are not executed; the module in which types of fields are looked up; and the answers of `--predictor.help`.
Other errors of its parsing are `ArgumentError`s.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args, get_type_hints

import jsonargparse
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from jsonargparse import _postponed_annotations as postponed
from jsonargparse._actions import _ActionHelpClassPath
from jsonargparse.typing import Path as NamedFile

from datasets.classes import PACKAGES, class_named, classes_of, described_in, named_in, packages
from datasets.files.reading import MOST_YAML, check_yaml, parse_yaml, read_text, shortened
from datasets.help import HelpFormatter, groups, usage
from datasets.records import InputError

HINT = "name a YAML file as those of configs"


SHORT = (
    *(
        "space",
        "archs",
        "onnx",
        "layers",
        "limit",
        "backend",
        "protocol",
        "host",
        "core",
        "threads",
        "journal",
        "out",
        "ssh",
        "scheduler",
    ),
    *("accuracy", "latency", "budget_ms", "confidence", "device", "metric", "seed", "shots", "draws", "sampler"),
    *("shape", "size", "trips", "inputs", "phases", "energy", "memory"),
    *("images", "sort", "json", "study", "label", "rounds"),
)
"""Names of flags that are short on all commands, also for fields of a dataclass: `--space` is `--subjects.space`."""


class Parser(ArgumentParser):
    """A parser that instantiates only classes, of packages that may be named."""

    def __init__(self, *arguments: Any, exit_on_error: bool = False, **options: Any) -> None:
        options = {"formatter_class": HelpFormatter, **options}
        super().__init__(*arguments, exit_on_error=exit_on_error, **options)

    def format_help(self, formatter: Any = None) -> str:
        """The help: how the command is written, what it does, its flags, and at the end those of every command."""
        own: dict[str, Any] = {name: getattr(self, name) for name in ("_action_groups", "usage")}
        line = usage(self.prog, self._actions).replace("%", "%%")
        self.__dict__.update(usage=line, _action_groups=list(groups(own["_action_groups"])))
        try:
            return str(super().format_help(formatter))
        finally:
            self.__dict__.update(own)

    def add_function_arguments(self, *arguments: Any, **options: Any) -> list[str]:
        """A function's parameters as flags; fields of its dataclasses in `SHORT` have short flags."""
        added: list[str] = super().add_function_arguments(*arguments, **options)
        for action in self._actions:
            _, _, name = action.dest.rpartition(".")
            if "." in action.dest and name in SHORT and (flag := f"--{name}") not in self._option_string_actions:
                action.option_strings = [flag]  # the help shows this one; the long one is accepted too
                self._option_string_actions[flag] = action
        return added

    def parse_args(self, *arguments: Any, **options: Any) -> Namespace:
        """Parse a command line.

        Raises:
            ArgumentError, InputError: the command line is faulty.
        """
        try:
            parsed = super().parse_args(*arguments, **options)
        except ArgumentError as error:
            unknown = re.match(r"unrecognized arguments: --([\w.]+)", str(error))
            if unknown and (meant := _meant(unknown[1], self._known(arguments[0] if arguments else ()))):
                raise InputError(f"{error}. Did you mean {meant}?") from error
            raise
        except InputError:
            raise
        except Exception as error:  # hostile values make jsonargparse raise nearly anything
            raise ArgumentError(None, str(error) or type(error).__name__) from error
        for key, value in parsed.items():
            if key.rpartition(".")[2] == "seed" and isinstance(value, int) and not 0 <= value < 2**31:
                raise InputError(f"--{key} has to be 0 or more and below 2,147,483,648, not {value}.")
        return parsed

    def _known(self, words: Sequence[str]) -> list[str]:
        """Flags of the command that a command line names."""
        for action in self._actions:
            if isinstance(action.choices, dict):  # its commands
                return [flag for word in words if (command := action.choices.get(word)) for flag in command._known(())]
        return [flag for flag in self._option_string_actions if flag.startswith("--")]

    def instantiate(self, namespace: Namespace, *arguments: Any, **options: Any) -> Namespace:
        """Make the objects after checking their classes: jsonargparse would also call functions that return one."""
        for described in described_in(namespace.as_dict()):
            _check_nulls(class_named(described["class_path"], object), described.get("init_args"))
        try:
            return super().instantiate(namespace, *arguments, **options)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # of values that its parsing accepted
            raise ArgumentError(None, str(error)) from error


def _meant(name: str, known: list[str]) -> str:
    """The flag that is most similar to a name; empty where none is similar."""
    fields = [flag for flag in known if flag.endswith(f".{name}")]
    close = difflib.get_close_matches(name, [flag.removeprefix("--") for flag in known], 1)
    return next(iter([*fields, *(f"--{flag}" for flag in close)]), "")


def _check_nulls(cls: type, given: Any) -> None:
    """Refuse null for a field whose type hint excludes it; jsonargparse treats null as missing."""
    try:
        hints = get_type_hints(cls)
    except NameError as error:
        raise InputError(f"{cls.__module__} does not import a type of a field of {cls.__name__}: {error}.") from error
    for name, value in given.items() if isinstance(given, dict) else ():
        hint = hints.get(name, Any)
        if value is None and hint is not Any and NoneType not in get_args(hint):
            raise InputError(f"{cls.__name__}: field '{name}' may not be null; give it a value or leave it out.")


def install() -> None:
    """Apply the rules to jsonargparse, with the packages that GNOMON_PLUGINS names now."""
    programs = [f"{package}.__main__" for package in PACKAGES]
    jsonargparse.set_parsing_settings(
        import_path_denylist=["*", *programs],
        import_path_allowlist=list(packages()),
        instantiate_subclass_spec_in_any=False,
    )
    jsonargparse.set_loader("yaml", _load, exceptions=(yaml.YAMLError,))
    # `if TYPE_CHECKING:` imports torch; no field needs that
    postponed.TypeCheckingVisitor.visit_If = lambda self, node: None
    NamedFile.read_text = _read_text
    _ActionHelpClassPath.resolve_help_type = _help_type
    postponed.get_types = _types


_jsonargparse_types = postponed.get_types


def _types(thing: Any, logger: Any = None, parent: Any = None) -> dict[str, Any]:
    """Types of a class's fields, or of a function's parameters. Annotations of a base class are evaluated in its own
    module: jsonargparse does so in that of the class, which need not import what its bases do."""
    if isinstance(thing, type):
        return get_type_hints(thing)
    return cast(dict[str, Any], _jsonargparse_types(thing, logger, parent))


_jsonargparse_help_type = _ActionHelpClassPath.resolve_help_type


def _help_type(self: Any, value: str | None, flag: str) -> type:
    """The class whose fields `--predictor.help CLASS` shows, by its path or its name; without one, the classes that the
    flag takes are printed."""
    if self.nargs == 0 or (value and "." in value):
        if value:
            class_named(value, object)  # raises with the reason
        return cast(type, _jsonargparse_help_type(self, value, flag))
    known = [path for kind in self._help_types for path in classes_of(kind)]
    if value is None:
        print(f"{flag} CLASS shows the fields of one of these classes:\n", *(f"  {path}" for path in known), sep="\n")
        sys.exit(0)
    if not (named := [path for path in known if path.rpartition(".")[2] == value]):
        raise InputError(f"{flag}: there is no class '{shortened(value)}'; {flag} without a name lists the classes.")
    return class_named(named[0], object)


_jsonargparse_load = jsonargparse.get_loader("yaml")


def _load(text: str) -> Any:
    check_yaml(text, "A value of the command line")
    return _jsonargparse_load(text)


_jsonargparse_read = NamedFile.read_text


def _read_text(self: Any) -> str:
    """The text of a configuration file, after checking its class paths."""
    path = Path(self.absolute)
    if self.relative == "-" or path.is_fifo():
        return str(_jsonargparse_read(self))
    text = read_text(path, HINT, MOST_YAML)
    tree = parse_yaml(text, str(path))
    try:
        for named in named_in(tree):
            if "." in str(named):  # others are short names of imported classes
                class_named(named, object)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return text
