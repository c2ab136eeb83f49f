"""Six of HELP's devices with 900 labels each on NAS-Bench-201 and FBNet, learning curves on both, speed, and a sweep
that is killed ten times. Two hours on one core; needs `python -m datasets fetch help`."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "train.py --sweep studies/help_900/sweep_fbnet.yaml",
        "-m predictors compare runs/help_900_fbnet",
        "train.py --sweep studies/help_900/sweep_curves.yaml",
        "-m predictors compare runs/help_curves",
        "train.py --sweep studies/help_900/sweep_curves_fbnet.yaml",
        "-m predictors compare runs/help_curves_fbnet",
        "train.py --sweep studies/help_900/sweep.yaml",
        "-m pytest -q tests/predictors/test_sweeps.py -k killed --rows runs/kills/summary.json",
        "-m tests.bench",
        "-m predictors compare runs/help_900",
    ),
    folder=Path("runs/help_900"),
)
