"""Studies: their steps name what is there, and what the last run of each left meets its claims."""

import shlex
from pathlib import Path

import pytest

from datasets.records import InputError
from predictors.rows import read_rows
from predictors.sweep import read_sweep
from studies.claims import Claim, read_claims
from studies.files.bounds import bounds
from studies.study import STUDIES, Study, about, find, names
from studies.usage import usage
from tests.conftest import ROOT, run

CLAIMS = [
    pytest.param(name, claim, marks=[pytest.mark.xfail(reason=claim.note)] if claim.note else [], id=f"{name}-{number}")
    for name in names()
    for number, claim in enumerate(read_claims(STUDIES / name / "claims.yaml"), 1)
]


@pytest.mark.parametrize("name, claim", CLAIMS)
def test_the_last_run_meets_its_claim(name: str, claim: Claim) -> None:
    """A claim whose note says why it is missed may fail."""
    summary = ROOT / (Path(claim.study) if claim.study else find(name).folder) / "summary.json"
    if not summary.is_file():
        pytest.skip(f"needs {summary.relative_to(ROOT)}; run {claim.command}")
    checked = claim.check(read_rows(summary, claim.columns(), f"run: {claim.command}"))
    assert checked["met"], f"{claim.claim}: {checked['value']:.4g} (target {claim.target:g})"


@pytest.mark.parametrize("name", names())
def test_every_step_of_a_study_names_what_is_there(name: str) -> None:
    study = find(name)
    assert study.steps and len(about(name)) > 40
    for step in study.steps:
        words = shlex.split(step)
        if words[0] == "-m":
            path = ROOT / words[1].replace(".", "/")
            assert words[1] == "pytest" or path.is_dir() or path.with_suffix(".py").is_file(), step
        for path in (word for word in words if word.endswith((".py", ".yaml"))):
            assert (ROOT / path).is_file(), step
        if "--sweep" in words:
            assert len(read_sweep(ROOT / words[words.index("--sweep") + 1]))


@pytest.mark.parametrize("name", names())
def test_every_claim_names_the_command_that_shows_it(name: str) -> None:
    claims = read_claims(STUDIES / name / "claims.yaml")
    assert claims and all(claim.command for claim in claims)


def test_the_command_lists_studies_and_refuses_other_names() -> None:
    listed = run("-m", "studies", "list")
    assert (
        listed.returncode == 0 and listed.stdout.count("\n") == len(names()) and "leti: LETI's study" in listed.stdout
    )
    refused = run("-m", "studies", "run", "letti")
    assert refused.returncode == 2 and "There is no study 'letti'; there are" in refused.stderr


def test_a_failing_step_ends_the_study_with_its_status(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Study(("-c 'raise SystemExit(3)'", "-c 'print(2 + 3)'"), Path("runs/none")).run()
    assert ended.value.code == 3 and "5" not in capfd.readouterr().out


def test_what_is_no_study_is_one_sentence() -> None:
    with pytest.raises(InputError, match="There is no study '../leti'"):
        find("../leti")


def test_simulated_bounds_hold_for_independent_runs_and_not_for_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.files.bounds.KNOWN", 200_000)
    rows = bounds(series=300)
    shares = {
        independent: [row["holds"] for row in rows if row["independent"] == independent] for independent in (0, 1)
    }
    assert {row["runs"] for row in rows if row["percentile"] == "p99"} == {459, 1000, 3000}
    assert sum(shares[1]) / len(shares[1]) > 0.985 and sum(shares[0]) / len(shares[0]) < 0.8


def test_savings_at_equal_regret_lie_between_the_evolutions_around_and_are_bounded_by_the_longest() -> None:
    from studies.search.hybrid import savings

    measured = [{"measurements": n, "regret": regret} for n, regret in ((50, 2.0), (100, 1.0), (200, 1.1), (400, 0.5))]
    saved = savings({"measurements": 10, "regret": 1.5}, measured, measured[2])
    assert 50 < 10 * saved["saved_at_equal_regret"] < 100
    assert saved["saved"] == 20 and saved["regret_more"] == pytest.approx(0.4)
    assert savings({"measurements": 10, "regret": 0.1}, measured, measured[2])[
        "saved_at_equal_regret"
    ] == pytest.approx(40)


def test_peak_memory_of_a_command_is_its_own() -> None:
    """Linux counts that of the process that starts another; pages of this one are touched, so that it is large."""
    large = bytearray(300 * 2**20)
    large[::4096] = bytes(len(large[::4096]))
    small = usage(["-c", "pass"])
    assert 0 < small.cpu_s < 5 and small.peak_bytes < 100 * 2**20
    assert usage(["-c", "x = b'1' * 200 * 2**20"]).peak_bytes > 200 * 2**20
    with pytest.raises(InputError, match="ended with status 3"):
        usage(["-c", "raise SystemExit(3)"])
