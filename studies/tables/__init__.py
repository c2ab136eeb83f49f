"""Sizes, repeatability and consistency of the bundled tables, whose first rows are measured again. A quarter of an hour
on an idle machine."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "-m pytest -q tests/datasets/test_tables.py -k device --rows runs/tables_tests/summary.json",
        "-m studies.tables.study --out runs/tables",
    ),
    folder=Path("runs/tables"),
)
