"""PerfNetRT's study: predictors of single layers on the bundled and public tables, then of whole networks. Three hours
on one core; needs `python -m datasets fetch ml-performance-prediction` and `neusight`."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "-m studies.perfnetrt.layers",
        "-m studies.perfnetrt.networks --host milan",
    ),
    folder=Path("runs/perfnetrt"),
)
