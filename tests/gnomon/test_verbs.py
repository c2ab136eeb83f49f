"""Verbs of `python -m gnomon`: what each runs, and the list of them."""

import re

import pytest

from gnomon.verbs import VERBS, version
from predictors.networks.shipped import PRICER
from tests.conftest import ROOT, run

WORDS = {verb.name: verb.words for verb in VERBS}


@pytest.mark.parametrize(
    "verb, given, run",
    [
        ("price", "a.onnx b.tflite --device x", "predict --network a.onnx b.tflite --device x"),
        ("price", "mine.pt zoo:lenet5", "predict mine.pt --network zoo:lenet5"),
        ("price", "--network a.onnx", "predict --network a.onnx"),
        ("measure", "doctor --json", "doctor --json"),
        ("measure", "a.onnx zoo:lenet5 --backend ort", "run --onnx a.onnx,zoo:lenet5 --backend ort"),
        ("measure", "--space zoo", "run --space zoo"),
        ("choose", "--n 10", f"choose {PRICER} --n 10"),
        ("adapt", "source.pt --out mine.pt", "adapt source.pt --out mine.pt"),
        ("adapt", "--help", "adapt --help"),
        ("train", "--study runs/x", "--study runs/x"),
    ],
)
def test_a_verb_runs_a_command_that_is_there(verb: str, given: str, run: str) -> None:
    assert WORDS[verb](given.split()) == run.split()


def test_the_list_of_verbs_and_a_verb_that_is_not_there() -> None:
    listed = run("-m", "gnomon")
    assert listed.returncode == 0 and listed.stdout == run("-m", "gnomon", "--help").stdout
    for verb in (*WORDS, "check", "compare"):
        assert f"\n  {verb} " in listed.stdout
    wrong = run("-m", "gnomon", "prize")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: There is no verb 'prize'; verbs are price, ")


def test_the_version_is_that_of_the_newest_changes_and_of_the_citation() -> None:
    changes, citation = ((ROOT / name).read_text() for name in ("CHANGELOG.md", "CITATION.cff"))
    (newest, *_), (cited,) = (
        re.findall(r"^## ([\d.]+),", changes, re.MULTILINE),
        re.findall(r"^version: (\S+)", citation, re.M),
    )
    assert version() == newest == cited
    assert run("-m", "gnomon", "--version").stdout == f"Gnomon {newest}\n"


def test_a_price_and_a_fault_by_way_of_a_verb() -> None:
    done = run("-m", "gnomon", "price", "zoo:lenet5", "--device", "milan_ort_fp32_1", "--json")
    assert done.returncode == 0 and '"latency_ms"' in done.stdout
    wrong = run("-m", "gnomon", "price", "absent.onnx")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: There is no file absent.onnx")
