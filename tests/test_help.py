"""`--help` of every command: sentences, no types of Python, and the flags of every command at the end."""

import importlib.util
import re
from argparse import Action
from typing import Any

import pytest

from datasets.arguments import Parser
from datasets.help import COMMON, sentence
from gnomon.verbs import VERBS
from tests.conftest import ROOT, run

FRAGMENTS = r"(Of|That|Who|As|In|On|From|By|Holds|One that) "


@pytest.fixture(scope="module")
def parsers() -> dict[str, Parser]:
    """The parser of every command, by its words."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    assert spec and spec.loader
    spec.loader.exec_module(pages := importlib.util.module_from_spec(spec))
    found: dict[str, Any] = {"train": pages._parser("train", [])}
    for program, words in pages.PROGRAMS.items():
        found[program] = parser = pages._parser(program, words)
        found |= {f"{program} {name}": command for name, command in pages._subcommands(parser)}
    assert len(found) > 40
    return found


def own_flags(parser: Parser) -> list[Action]:
    return [action for action in parser._actions if not isinstance(action, tuple(COMMON)) and action.help]


def test_descriptions_are_whole_sentences(parsers: dict[str, Parser]) -> None:
    for name, parser in parsers.items():
        if " " in name or name == "train":
            assert re.match(r"[A-Z].* .*\.$", parser.description or "", re.DOTALL), name
        for action in own_flags(parser):
            text = sentence(action.help)
            assert text.endswith(".") and not re.match(FRAGMENTS, text), f"{name} {action.dest}: {text}"


def test_help_shows_defaults_as_they_are_typed_and_no_types(parsers: dict[str, Parser]) -> None:
    for name, parser in parsers.items():
        text = parser.format_help()
        assert not re.search(r"type:|<class|null\)|default: (None|True|False|\)|\{)", text), name
        assert text.startswith(f"usage: {parser.prog.replace(' [options]', '')}"), name


def test_flags_of_every_command_come_last(parsers: dict[str, Parser]) -> None:
    for name, parser in parsers.items():
        own, _, last = parser.format_help().partition("\nflags of every command:\n")
        assert "  -h, --help  " in last and "--help  " not in own and "--config" not in own, name
        for action in own_flags(parser):
            assert not action.option_strings or f"  {action.option_strings[0]} " in own, (name, action.dest)


@pytest.mark.parametrize(
    "text, expected",
    [("the file.", "The file."), ("energy_mj or J", "energy_mj or J."), ("user@host or a name", "user@host or a name."),
     ("`a` is b.", "`a` is b."), (".onnx files", ".onnx files."), ("server-cpu, ...", "Server-cpu, ..."),
     ("", "")],
)  # fmt: skip
def test_texts_become_sentences(text: str, expected: str) -> None:
    assert sentence(text) == expected


def test_the_help_of_a_verb_begins_with_how_the_verb_is_written() -> None:
    (verb,) = (verb for verb in VERBS if verb.name == "adapt")
    done = run("-m", "gnomon", "adapt", "--help")
    assert done.returncode == 0 and f"`python -m gnomon adapt {verb.usage}` runs this command" in done.stdout
