"""Pages of the site that are written from the code at build time; mkdocs runs this file as a hook (`make docs`).

Commands come from their own `--help`, classes from their docstrings, so that the reference cannot differ from the code.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import posixpath
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

COPIED = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "readme.md",
    "datasets/bundled/README.md": "bundled.md",
}
"""Pages of the repository that stand outside of docs/, and their places in the site."""

PROGRAMS = {
    "gnomon": ["check"],
    "predictors": ["show"],
    "measure": ["doctor"],
    "search": ["evolve"],
    "datasets": ["list"],
}
"""Packages with a command line, and words that start it."""

CLASSES = {
    "spaces": ("datasets", "datasets.records", "Space"),
    "data_sets": ("datasets", "datasets.base", "Dataset"),
    "encoders": ("encoders", "encoders", ""),
    "predictors": ("predictors", "predictors.base", "Predictor"),
    "runtimes": ("measure", "measure.base", "Backend"),
}
"""Page -> package, and the module and name of the class whose implementations it lists."""


def on_files(files: Any, config: Any) -> Any:
    """Add copied and generated pages to those of docs/."""
    from mkdocs.structure.files import File

    pages = {place: (ROOT / source).read_text() for source, place in COPIED.items()}
    pages |= {f"reference/{name}.md": write() for name, write in reference().items()}
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links of a page that leave docs/ lead to the copied pages; other files of the repository become code."""
    place = page.file.src_uri
    source = {new: old for old, new in COPIED.items()}.get(place, f"docs/{place}")

    def link(match: re.Match[str]) -> str:
        target, _, anchor = match[3].partition("#")
        if "://" in target or not target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        inside = COPIED.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        if inside:
            there = posixpath.relpath(inside, posixpath.dirname(place) or ".")
            return f"{match[1]}{match[2]}]({there}{'#' * bool(anchor)}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # mkdocs names the page and the link
        return f"{match[2]} (`{path}`)"

    return re.sub(r"(!?\[)([^\]]*)\]\(([^)\s]+)\)", link, markdown)


def reference() -> dict[str, Callable[[], str]]:
    """Pages of the reference by name, each written by a function."""
    pages: dict[str, Callable[[], str]] = {f"commands_{name}": partial(commands, name) for name in PROGRAMS}
    pages["commands_train"] = lambda: "# train.py\n\n" + _block(_parser("train", []).format_help())
    pages |= {name: partial(classes, name) for name in CLASSES}
    return pages


def commands(program: str) -> str:
    """The commands of a package as a page: the help of each."""
    parser = _parser(program, PROGRAMS[program])
    parts = [f"# python -m {program}\n"]
    if program == "gnomon":
        from gnomon.verbs import VERBS

        parts += [f"- `{verb.name}`: {verb.help} It runs a command of `{verb.module}`." for verb in VERBS]
    for name, command in _subcommands(parser):
        parts.append(f"\n## {name}\n\n{_block(command.format_help())}")
    return "\n".join(parts)


def classes(page: str) -> str:
    """Implementations of a class as a page: the docstring of each, with its fields and their defaults."""
    package, module, name = CLASSES[page]
    if name:
        wanted = getattr(importlib.import_module(module), name)
        found = [cls for cls in _classes(package) if issubclass(cls, wanted) and not inspect.isabstract(cls)]
    else:
        found = list(_classes(package))
    parts = [f"# {page.replace('_', ' ').capitalize()}\n"]
    for cls in sorted(set(found), key=lambda cls: cls.__qualname__):
        if doc := inspect.getdoc(cls):
            parts.append(f"\n## {cls.__qualname__}\n\n`{cls.__module__}.{cls.__qualname__}`\n\n{_block(doc)}")
    return "\n".join(parts)


def _classes(package: str) -> Iterator[type]:
    """Public classes that modules of a package define; modules whose packages are missing are left out."""
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.name.startswith("__"):
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        with contextlib.suppress(ModuleNotFoundError):
            for cls in vars(importlib.import_module(name)).values():
                if inspect.isclass(cls) and cls.__module__ == name and not cls.__name__.startswith("_"):
                    yield cls


def _parser(program: str, words: list[str]) -> Any:
    """The parser of a program, taken when it begins to parse."""
    from jsonargparse import capture_parser

    def run() -> None:
        runpy.run_module(program, run_name="__main__")

    with patch.object(sys, "argv", [program, *words]), contextlib.redirect_stderr(io.StringIO()):
        try:
            return capture_parser(run)
        except SystemExit as end:  # datasets.cli explains every fault of parsing, this one too
            cause: BaseException | None = end
            while cause is not None and not hasattr(cause, "parser"):
                cause = cause.__context__
            if cause is None:
                raise RuntimeError(f"{program} ended without parsing its arguments") from end
            return cause.parser


def _subcommands(parser: Any) -> Iterator[tuple[str, Any]]:
    for action in parser._actions:
        yield from (getattr(action, "_name_parser_map", None) or {}).items()


def _block(text: str) -> str:
    return "```text\n" + text.replace("```", "'''").strip() + "\n```\n"
