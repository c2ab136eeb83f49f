"""Reading files that users name: missing, damaged, too large or hostile files raise `InputError`."""

from __future__ import annotations

import codecs
import difflib
import glob
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets.architectures import InputError

MOST_BYTES = 64 * 2**20
"""Largest text file that is read; journals and public tables have readers of their own."""
MOST_YAML = 2**20
"""Largest YAML file in bytes; the longest of ours has 25,000."""
MOST_NODES = 100_000
"""Most values in a YAML file, with aliases counted as often as they are used."""
MOST_DEPTH = 50
"""Deepest nesting in a YAML or JSON file."""

_HALF = re.compile("[\ud800-\udfff]")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def no_such(kind: str, name: str, known: Sequence[str]) -> InputError:
    """The error of a name that is not among the known ones, with the most similar of them, to be raised."""
    close = difflib.get_close_matches(name, known, 1)
    meant = f"; did you mean '{close[0]}'? Known" if close else "; known"
    return InputError(f"There is no {kind} '{shortened(name, 60)}' here{meant} are: {', '.join(known)}.")


def existing(path: Path, hint: str) -> Path:
    """The path of a regular file.

    Args:
        path: the file.
        hint: description of the expected file, or how to make one; it ends the sentence.

    Raises:
        InputError: there is no such file, or it is a folder. Folders with such a file whose names begin as the missing
            one's are named, since run folders are called after the predictor and its settings.
    """
    others = list[str]()
    try:
        if Path(path).is_dir():
            raise InputError(f"{shortened(path)} is a folder, not a file; {hint}.")
        if Path(path).is_file():
            return Path(path)
        if not (folder := Path(path).parent).exists():
            beside = sorted(folder.parent.glob(f"{glob.escape(folder.name)}*/{glob.escape(Path(path).name)}"))
            others = [shortened(other) for other in beside]
    except (OSError, ValueError):  # the name is too long, or has a zero byte
        pass
    there = f" there is {', '.join(others[:3])};" if others else ""
    raise InputError(f"There is no file {shortened(path)};{there} {hint}.")


def read_text(path: Path, hint: str, most: int = MOST_BYTES) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        InputError: there is no such file, it has more than `most` bytes, or it is not text.
    """
    path = existing(path, hint)
    if path.stat().st_size > most:
        raise InputError(f"{path} has {path.stat().st_size:,} bytes, more than the {most:,} that are read; {hint}.")
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not text in UTF-8 (byte {error.start:,} is not); save it in that encoding."
        ) from None


def read_words(path: Path, hint: str) -> list[str]:
    """The words of a text file, such as one architecture per line.

    Raises:
        InputError: `read_text` raises it, or the file has no words.
    """
    words = read_text(path, hint).split()
    if not words:
        raise InputError(f"{path} is empty; {hint}.")
    return words


def read_json(path: Path, hint: str, most: int = MOST_BYTES) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: the file is missing, larger than `most` bytes, no text or no JSON.
    """
    try:
        return json.loads(read_text(path, hint, most))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({_short(error)}); {hint}.") from None


def read_yaml(path: Path, hint: str) -> Any:
    """The content of a YAML file, in plain containers; nothing in it is executed.

    Raises:
        InputError: the file is missing, not text, not YAML, nested too deeply, or has too many values.
    """
    return parse_yaml(read_text(path, hint, MOST_YAML), str(path))


def parse_yaml(text: str, where: str, quick: bool = False) -> Any:
    """The content of YAML text.

    Args:
        text: the content of a file.
        where: its name in the sentence of an `InputError`.
        quick: whether to read it by libyaml where that is installed, which is ten times faster and words errors
            differently.

    Raises:
        InputError: it is not YAML, nested deeper than `MOST_DEPTH`, or has more than `MOST_NODES` values once aliases
            are followed.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if quick else yaml.SafeLoader
    try:
        check_yaml(text, where, loader)
        return yaml.load(text, loader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # values that do not fit their tags (`!!timestamp x`, `!!bool x`, `!!int ''`), dates such as 2001-99-99
        raise InputError(f"{where} is not valid YAML ({_short(error)}).") from None


def check_yaml(text: str, where: str, loader: Any = None) -> None:
    """Check the size of YAML text with aliases followed, and its depth, before anything is built from it.

    Args:
        text: the content of a file.
        where: its name in the sentence of an `InputError`.
        loader: of the yaml package; by default its safe one.

    Raises:
        InputError: it is too large or too deep.
        YAMLError: it is not YAML.
    """
    import yaml

    sizes: dict[str, int] = {}  # sizes of anchored values, with aliases followed
    open_: list[list] = [["", 0]]  # anchor and size of each open collection
    for event in yaml.parse(text, Loader=loader or yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append([event.anchor, 0])
            if len(open_) > MOST_DEPTH:
                raise InputError(f"{where} is nested more than {MOST_DEPTH} levels deep; it is no file of Gnomon.")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
            size += 1
        elif isinstance(event, yaml.AliasEvent):
            anchor, size = None, sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
            if _HALF.search(event.value):
                raise InputError(f"{where} holds half a character (\\ud800 to \\udfff); write the whole one.")
        else:
            continue
        if anchor:
            sizes[anchor] = size
        open_[-1][1] += size
        if open_[-1][1] > MOST_NODES:
            raise InputError(f"{where} has more than {MOST_NODES:,} values once its aliases are followed; shorten it.")


def shortened(text: object, most: int = 200) -> str:
    """A user's text in one line of a sentence; of a long one the beginning."""
    text = " ".join(str(text).splitlines())
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def listed(names: Sequence[object], most: int = 10) -> str:
    """Names for a sentence, separated by commas; of many the first ones."""
    more = f", ... ({len(names):,} in all)" if len(names) > most else ""
    return ", ".join(shortened(name, 60) for name in names[:most]) + more


def _short(error: Exception) -> str:
    return shortened(" ".join(str(error).split()) or type(error).__name__)
