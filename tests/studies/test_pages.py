"""Pages and rows: tables of pages are what their rows give, and the arena's page meets the claims about it."""

import re
from pathlib import Path

import pytest

from datasets.records import InputError
from studies.claims import Claim, read_claims
from studies.markdown import MARKED, filled
from studies.pages import (
    RESULTS,
    SOURCES,
    TABLES,
    benchmarks,
    from_rows,
    make_train,
    pages,
    ranked,
)
from studies.study import STUDIES
from tests.conftest import ROOT
from tests.studies.test_claims import ROWS

PAGES = [page for page in pages() if MARKED.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_table_of_a_page_is_what_its_rows_give(page: Path) -> None:
    text = page.read_text()
    assert filled(text, from_rows)[1] == [], "run: python -m studies.pages"
    if absent := [name for name in MARKED.findall(text) if from_rows(name) is None]:
        pytest.skip(f"{', '.join(absent)}: there are no rows yet; run the command of the page, then studies.pages")


def test_every_table_has_a_maker_and_every_results_page_such_tables() -> None:
    assert {name for page in PAGES for name in MARKED.findall(page.read_text())} == set(TABLES)
    written = {page.stem for page in PAGES} | {"arena"}  # whose study writes all of it
    assert {page.stem for page in RESULTS.glob("*.md") if "\n|" in page.read_text()} <= written
    assert {path.stem for path in (RESULTS / "rows").iterdir()} <= set(SOURCES) | {"benchmarks"}
    assert {rows for rows, _ in TABLES.values()} <= set(SOURCES) | {"benchmarks"}


def test_a_changed_figure_and_a_table_without_a_maker_are_found() -> None:
    rows = [{"date": "2026-01-01", "processor": "A", "ratios": {"a": 2}}]
    text = f"<!-- table benchmarks -->\n{benchmarks(rows)}\n<!-- end -->"
    assert filled(text, lambda name: benchmarks(rows)) == (text, [])
    assert filled(text.replace("2 |", "3 |"), lambda name: benchmarks(rows)) == (text, ["benchmarks"])
    with pytest.raises(InputError, match="a table 'tea'; there are make_train"):
        filled("<!-- table tea -->\n<!-- end -->", from_rows)
    assert filled("<!-- table tea -->\nold\n<!-- end -->", lambda name: None) == (
        "<!-- table tea -->\nold\n<!-- end -->",
        [],
    )


def test_scores_are_written_with_their_units_and_undefined_ones_as_a_dash() -> None:
    lines = make_train(ranked(ROWS)).splitlines()
    assert lines[0].startswith("| predictor | validation Spearman | Spearman |") and len(lines) == 2 + 5
    (mean,) = (line for line in lines if line.startswith("| mean"))
    assert mean.split(" | ")[1:3] == ["–", "–"] and "50.0 %" in mean and mean.endswith("| 10.0 |")


def test_the_history_of_the_bench_has_a_column_per_run_the_newest_first() -> None:
    runs = [{"date": "2026-01-01", "processor": "A", "ratios": {"old": 2, "both": 60}}]
    runs.append({"date": "2026-02-01", "processor": "B", "ratios": {"both": 140, "new": 0.5}})
    assert benchmarks(runs).splitlines() == [
        "| what | 2026-02-01, B | 2026-01-01, A |", "| --- | --- | --- |", "| both | 140 | 60 |", "| new | 0.5 |  |",
        "| old |  | 2 |",
    ]  # fmt: skip


ARENA = {  # table, protocol -> heading on the page
    "timm": "timm: image", "networks": "Public networks of many kinds",
    "hosts": "Public networks on genoa", "convnet+zoo": "Random and published",
    "ncnn-complete": "ncnn: the part",
    "families": "Families", "random": "Networks held out at random", "devices": "Devices left out",
}  # fmt: skip


def arena_table(table: str, protocol: str) -> list[dict[str, str]]:
    """Rows of a table of the arena's page."""
    (section,) = re.findall(rf"^## {re.escape(ARENA[table])}.*?(?=^## |\Z)", _arena(), re.MULTILINE | re.DOTALL)
    (part,) = re.findall(rf"^### {ARENA[protocol]}.*?(?=^### |\Z)", section, re.MULTILINE | re.DOTALL)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def _arena() -> str:
    return (RESULTS / "arena.md").read_text()


ERRORS = [
    pytest.param(claim, id=f"{name}-{number}")
    for name in ("arena", "graph_network")
    for number, claim in enumerate(read_claims(STUDIES / name / "claims.yaml"), 1)
    if claim.metric == "mape" and {"table", "protocol", "predictor"} <= set(claim.where)
    and ("device" in claim.where) == (claim.where["protocol"] == "families")
]  # fmt: skip


@pytest.mark.parametrize("claim", ERRORS)
def test_errors_on_the_arena_s_page_meet_the_claims_about_them(claim: Claim) -> None:
    """Rounded as they are on the page, and to the digits of the target; a claim with a note is a miss there too."""
    where = claim.where
    rows = {row["predictor"]: row for row in arena_table(where["table"], where["protocol"])}
    if where["protocol"] == "families":
        devices = [name for name in next(iter(rows.values())) if where["device"].startswith(name)]
        shown = rows[where["predictor"]][devices[0]]
    else:
        names = f"{where['samples']} network{'s' * (where['samples'] > 1)}"
        shown = rows[where["predictor"] + ", chosen" * (where["sampler"] == "own")][names]
    assert (float(shown) <= claim.target) == (not claim.note), f"{claim.claim}: {shown} (target {claim.target:g})"


def test_best_other_rows_that_claims_of_the_graph_network_name_are_those_of_the_page() -> None:
    claims = [c for c in read_claims(STUDIES / "graph_network" / "claims.yaml") if "best other row of docs" in c.claim]
    assert len(claims) == 5
    for claim in claims:
        rows = arena_table(claim.where["table"], claim.where["protocol"])
        device = next(name for name in rows[0] if claim.where["device"].startswith(name))
        assert claim.target == min(float(r[device]) for r in rows if not r["predictor"].startswith("graph_net")), (
            claim.claim
        )


def test_the_front_page_prices_as_the_pricer_of_the_repository_does(capsys: pytest.CaptureFixture[str]) -> None:
    from tests.test_own_data import follow

    text = (ROOT / "README.md").read_text()
    (shown,) = re.findall(r"```\n( +network .*?)```", text, re.DOTALL)
    with pytest.MonkeyPatch.context() as patch:
        follow(["python -m gnomon price zoo:lenet5 zoo:squeezenet --device milan_ort_fp32_1"], patch)
    assert shown.strip() in capsys.readouterr().out
