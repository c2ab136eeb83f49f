"""Measurements: killed campaigns, repeatability, overhead and sums of layers. An hour on an idle machine with two cores
or more."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "-m studies.measure.enumeration --out runs/enumeration",
        "-m pytest -q tests/datasets/test_nasbench101.py -k 'hash or counts_by' "
        "--rows runs/enumeration_tests/summary.json",
        "-m studies.measure.study --out runs/measure",
    ),
    folder=Path("runs/measure"),
)
