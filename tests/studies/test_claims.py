"""Claims: a mean over rows against a target."""

import json
from pathlib import Path

import pytest

from datasets.records import InputError
from predictors.metrics import METRICS
from studies.claims import Claim, check_claims, read_claims
from tests.conftest import run

ROWS = [
    {"predictor": p, "device": d, "set": which, "shots": n, "seed": 0, "cells": "all"}
    | {"n": 100, "spearman": s, "fit_cpu_s": 10.0, "predict_cpu_s": 1.0}
    | {m: 0.5 for m in METRICS if m != "spearman"}
    for which in ("val", "test")
    for p, d, n, s in (
        ("gcn", "a", 900, 0.9),
        ("gcn", "b", 900, 0.8),
        ("gcn", "a", 100, 0.3),
        ("trees", "a", 100, 0.4),
        ("trees", "a", 900, 0.7),
        ("trees", "b", 900, 0.7),
        ("mean", "a", 900, None),
        ("mean", "b", 900, None),
    )
]
TEST = {"set": "test", "shots": 900}


def test_a_claim_is_a_mean_over_the_rows_it_names() -> None:
    told = Claim("both", "spearman", 0.85, {"predictor": "best", **TEST}, command="make it").check(ROWS)
    assert told == {"claim": "both", "value": pytest.approx(0.85), "target": 0.85, "met": told["value"] >= 0.85,
                    "command": "make it", "rows": 2}  # fmt: skip
    assert Claim("one", "spearman", 0.85, {"predictor": "gcn", "device": ["a"], **TEST}).check(ROWS)["met"]
    assert not Claim("other", "spearman", 0.85, {"predictor": "gcn", "device": "b", **TEST}).check(ROWS)["met"]
    assert Claim("fast", "fit_cpu_s", 60, better="lower").check(ROWS)["met"]


def test_the_best_is_the_best_with_as_many_labels() -> None:
    few = Claim("few", "spearman", 0, {"predictor": "best", "set": "test", "shots": 100}).check(ROWS)
    assert few["value"] == pytest.approx(0.4), "trees lead with 100 labels, the GCN with 900"


def test_what_is_undefined_is_not_met() -> None:
    assert Claim("constant", "spearman", -1, {"predictor": "mean"}).check(ROWS)["met"] is False


@pytest.mark.parametrize("where", [{"devise": "a"}, {"device": "c"}, {"predictor": "best", "set": {"a": 1}}])
def test_rows_that_are_not_there_are_one_sentence(where: dict) -> None:
    with pytest.raises(InputError, match="rows have no column 'devise'|is the study complete"):
        Claim("c", "spearman", 1, where).check(ROWS)


def test_rows_of_another_study(tmp_path: Path) -> None:
    claims = tmp_path / "claims.yaml"
    claims.write_text(f"- {{claim: c, metric: passed, target: 1, study: {tmp_path / 'tests'}, command: make x}}")
    with pytest.raises(InputError, match="which is not there; run: make x"):
        check_claims(claims, tmp_path)
    done = run("-m", "pytest", "-q", "tests/studies/test_claims.py::test_what_is_undefined_is_not_met",
               "--rows", tmp_path / "tests" / "summary.json")  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert check_claims(claims, tmp_path)[0]["met"]


def test_files(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(ROWS))
    (tmp_path / "claims.yaml").write_text(
        "- {claim: c, metric: spearman, target: 0.5, where: {predictor: gcn, set: test, shots: 900}, note: n}"
    )
    told = check_claims(tmp_path / "claims.yaml", tmp_path)
    assert json.loads((tmp_path / "claims.json").read_text()) == told and told[0]["met"] and told[0]["note"] == "n"


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("- {claim: c, goal: 3}", "claim 1 has no field 'goal'; its fields are claim, metric, target"),
        ("- {claim: c, metric: m}", "claim 1 needs the field 'target'"),
        ("- {claim: c, metric: m, target: high}", "field 'target' may not be 'high'"),
        ("- {claim: [c], metric: m, target: 1}", "field 'claim' may not be"),
        ("- {claim: c, metric: m, target: 1, where: [set]}", "field 'where' may not be"),
        ("- {claim: c, metric: m, target: 1, better: best}", "field 'better' may not be 'best'"),
        ("- 5", "needs fields of"),
        ("{claim: c}", "is no list of claims"),
        ("5", "is no list of claims"),
    ],
)
def test_claims_of_another_shape_are_one_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_claims(tmp_path / "bad.yaml")
