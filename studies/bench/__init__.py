"""The research bench: a grid of hyperparameters and seeds in `compare`, a fit that is killed, intervals over seeds. Ten
minutes; needs nothing but the bundled measurements."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "train.py --sweep studies/bench/sweep.yaml",
        "-m predictors compare runs/research_bench/grid --against 1",
        "-m studies.bench.study",
    ),
    folder=Path("runs/research_bench"),
)
