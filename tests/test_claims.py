"""Claims: a mean over rows against a target."""

import json
from pathlib import Path

import pytest

from datasets.records import InputError
from predictors.claims import Claim, check_claims, read_claims

ROWS = [
    {"predictor": p, "device": d, "spearman": s, "fit_cpu_s": 10.0}
    for p, d, s in (("gcn", "a", 0.9), ("gcn", "b", 0.8), ("mean", "a", None), ("mean", "b", None))
]


def test_a_claim_is_a_mean_over_the_rows_it_names() -> None:
    told = Claim("both", "spearman", 0.85, {"predictor": "best"}, command="make it").check(ROWS, "gcn")
    assert told == {"claim": "both", "value": pytest.approx(0.85), "target": 0.85, "met": told["value"] >= 0.85,
                    "command": "make it", "rows": 2}  # fmt: skip
    assert Claim("one", "spearman", 0.85, {"predictor": "gcn", "device": ["a"]}).check(ROWS, "")["met"]
    assert not Claim("other", "spearman", 0.85, {"predictor": "gcn", "device": "b"}).check(ROWS, "")["met"]
    assert Claim("fast", "fit_cpu_s", 60, better="lower").check(ROWS, "")["met"]


def test_what_is_undefined_is_not_met() -> None:
    assert Claim("constant", "spearman", -1, {"predictor": "mean"}).check(ROWS, "")["met"] is False


@pytest.mark.parametrize("where", [{"devise": "a"}, {"device": "c"}])
def test_rows_that_are_not_there_are_one_sentence(where: dict) -> None:
    with pytest.raises(InputError, match="rows have no column 'devise'|is the study complete"):
        Claim("c", "spearman", 1, where).check(ROWS, "")


def test_files(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(ROWS))
    (tmp_path / "claims.yaml").write_text(
        "- {claim: c, metric: spearman, target: 0.5, where: {predictor: gcn}, note: n}"
    )
    told = check_claims(tmp_path / "claims.yaml", tmp_path, "gcn")
    assert json.loads((tmp_path / "claims.json").read_text()) == told and told[0]["met"] and told[0]["note"] == "n"
    (tmp_path / "bad.yaml").write_text("- {claim: c, goal: 3}")
    with pytest.raises(InputError, match="is no list of claims"):
        read_claims(tmp_path / "bad.yaml")
