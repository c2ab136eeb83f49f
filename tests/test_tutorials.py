"""Commands of the tutorials and Python of the front page run as they stand there; the site builds without warnings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, run
from tests.test_own_data import follow

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"(?:<!-- slow: (.+?) -->\n)?```sh\n(.*?)```", re.DOTALL)
BLOCKS = [
    pytest.param(code, id=f"{page.stem}-{i}", marks=[pytest.mark.skip(f"slow: {reason}")] if reason else [])
    for page in TUTORIALS
    for i, (reason, code) in enumerate(BLOCK.findall(page.read_text()))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder for all blocks, in which each finds what those before it wrote."""
    made = tmp_path_factory.mktemp("tutorials")
    for name in ("configs", "datasets"):
        (made / name).symlink_to(ROOT / name)
    return made


@pytest.mark.parametrize("code", BLOCKS)
def test_a_block_of_a_tutorial_runs(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for line in code.splitlines():
        follow([line.partition(" > ")[0]], monkeypatch)


def test_every_tutorial_has_commands() -> None:
    assert len(TUTORIALS) == 7
    assert all(BLOCK.search(page.read_text()) for page in TUTORIALS)


def test_the_front_page_is_short_and_its_python_runs() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 150
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert code.count("\n") <= 10
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    assert re.match(r"[\d.]+ ms, 90 % from [\d.]+ to [\d.]+\nconv", done.stdout)


def test_every_figure_of_the_front_page_stands_on_the_page_that_it_names() -> None:
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (.+?) \| \[[^]]+\]\((docs/results/\w+\.md)\) \|$", text, re.MULTILINE)
    assert len(rows) == 10
    for claim, figures, page in rows:
        text = (ROOT / page).read_text()
        for number in re.findall(r"\d+\.\d+", f"{claim} {figures}"):
            assert number in text, f"{number} of '{claim}' does not stand in {page}"


def test_every_page_has_its_place_in_the_site() -> None:
    """In mkdocs.yml and in docs/index.md."""
    nav = yaml.safe_dump(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    index = (ROOT / "docs" / "index.md").read_text()
    for page in sorted((ROOT / "docs").rglob("*.md")):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name in nav, f"mkdocs.yml does not list {name}"
        assert name == "index.md" or f"({name})" in index, f"docs/index.md does not list {name}"


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "datasets" / "bundled" / "README.md",
         *sorted((ROOT / "docs").rglob("*.md"))]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_to_files_and_headings(page: Path) -> None:
    """Without mkdocs, which is not installed by `make test`."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"(?<!`)\[[^\]`]*(?:`[^`]*`[^\]`]*)*\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in headings}, target


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs-material is not installed; `make docs` installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0 and "WARNING" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert "--network" in (tmp_path / "reference" / "commands_predictors.html").read_text()
    assert "NasBench201" in (tmp_path / "reference" / "spaces.html").read_text()
