"""What `--help` prints: sentences, defaults that are values, and the flags that every command has at the end."""

from __future__ import annotations

import re
from argparse import SUPPRESS, Action, _HelpAction
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from jsonargparse import DefaultHelpFormatter, Namespace
from jsonargparse._actions import (
    ActionConfigFile,
    _ActionConfigLoad,
    _ActionHelpClassPath,
    _ActionPrintConfig,
)
from jsonargparse._subcommands import ActionSubCommands

COMMON = {
    _HelpAction: "Show this help and exit.",
    ActionConfigFile: "A YAML file of flags and their values.",
    _ActionPrintConfig: "Print all flags with their values as YAML, and exit.",
    _ActionConfigLoad: "A YAML file of the flags of one of the groups above.",
    _ActionHelpClassPath: "Show the classes that this flag takes, or the fields of one of them, and exit.",
}
"""Kinds of flags that commands have beside their own, and their help."""


def sentence(text: str) -> str:
    """A text with a capital first letter and a full stop; names in code, such as `pc_ort`, stay as they are."""
    text = text.strip()
    if re.match(r"[a-z]+(?:-[a-z]+)*(?=[\s,:;.']|$)", text) and not re.match(r"[a-z]+\.[a-z]", text):
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) or not text else f"{text}."


class HelpFormatter(DefaultHelpFormatter):
    """Help of flags without Python's types; a default is shown where it is a value."""

    def _get_help_string(self, action: Action) -> str:
        if common := _common(action):
            return common
        text, default = sentence(action.help or ""), _default(action.default)
        if not action.option_strings:
            return text
        needed = " (required)" if action.required else ""
        return f"{text} (default: {default})" if default else text + needed

    def _format_action_invocation(self, action: Action) -> str:
        if isinstance(action, ActionSubCommands):
            return "COMMAND --help explains the flags of one of these:"
        return str(super()._format_action_invocation(action))


def _default(value: Any) -> str:
    """A default as a command line has it, empty where the flag has no value by default."""
    if value in (None, "", SUPPRESS, [], {}):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    described = dict(value) if isinstance(value, dict | Namespace) else {}
    return str(described.get("class_path", value))


def _common(action: Action) -> str:
    return next((text for kind, text in COMMON.items() if isinstance(action, kind)), "")


def usage(prog: str, actions: Sequence[Action]) -> str:
    """The command, its positional arguments, and that flags follow."""
    words = [action for action in actions if not action.option_strings]
    named = ["COMMAND" if isinstance(action.choices, dict) else action.dest.upper() for action in words]
    named = [f"[{name}]" if action.nargs == "?" else name for name, action in zip(named, words, strict=True)]
    return " ".join([prog.replace(" [options]", ""), *named, "[flags]"])


def groups(found: Sequence[Any]) -> Iterator[SimpleNamespace]:
    """Groups of flags in their order, without those that every command has, which are the last group."""
    common = list[Action]()
    for group in found:
        own = [action for action in group._group_actions if not _common(action)]
        common += [action for action in group._group_actions if _common(action)]
        title = {"options": "flags", "positional arguments": "arguments", "subcommands": "commands"}.get(group.title)
        about = None if title == "commands" else group.description
        yield SimpleNamespace(title=title or group.title, description=about, _group_actions=own)
    yield SimpleNamespace(title="flags of every command", description=None, _group_actions=common)


def help_alone(arguments: list[str]) -> list[str]:
    """A command line that asks for the fields of a class (`--predictor.help CLASS`), without its other flags, which
    jsonargparse would take for those of the class."""
    kept, follows = list[str](), True  # the words before any flag name the command
    for word in arguments:
        if word.startswith("--"):
            follows = bool(re.match(r"--(\w+\.)+help(=|$)", word))
        kept += [word] if follows else []
    return kept if any(word.startswith("--") for word in kept) else arguments
