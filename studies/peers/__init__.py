"""HELP's and NASFLAT's methods with the settings of their own code: source devices to new ones. Ten minutes on an idle
core; trained predictors stay in runs/peers. Needs `python -m datasets fetch help`."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=("-m studies.peers.study",),
    folder=Path("runs/peers"),
)
