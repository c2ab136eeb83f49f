"""HELP's desktop GPU gold_6226 with 900 labels, three seeds. A quarter of an hour; needs `python -m datasets fetch
help`."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "train.py --sweep studies/help_gold/sweep.yaml",
        "-m predictors compare runs/help_gold",
    ),
    folder=Path("runs/help_gold"),
)
