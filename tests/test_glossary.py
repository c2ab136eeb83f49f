"""The glossary is in order, one sentence a term, and explains what the README and the device sets name."""

import re

import yaml

from tests.conftest import ROOT

ROWS = [line.strip("| ").split(" | ") for line in (ROOT / "docs" / "glossary.md").read_text().splitlines()[6:]]


def test_every_term_has_one_sentence_and_its_place_in_the_alphabet() -> None:
    terms = [term.lower() for term, _ in ROWS]
    assert terms == sorted(terms) and len(set(terms)) == len(terms) > 100
    for term, meaning in ROWS:
        assert meaning.endswith(".") and not re.search(r"[.] [A-Z]", meaning), term


def test_device_sets_and_metrics_are_explained() -> None:
    known = {name for term, _ in ROWS for name in re.split(r"[ ,()`]+", term)}
    sets = yaml.safe_load((ROOT / "configs" / "device_sets" / "nasflat.yaml").read_text())["sets"]
    assert {*sets, "Spearman", "Kendall", "MAPE", "MACs", "exe_ms", "pre_ms", "post_ms"} <= known
