"""LETI's study: 230 fits, searches on bundled tables, scores of all of NAS-Bench-101; and, measured on this machine,
ResNet50 and NASNet as sums of their layers, and a search. An hour on an idle core."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "train.py --sweep studies/leti/sweep.yaml",
        "train.py --sweep studies/leti/sweep_gcn.yaml",
        "-m studies.leti.study",
        "-m tests.bench",
        "-m predictors compare runs/leti",
    ),
    folder=Path("runs/leti"),
)
