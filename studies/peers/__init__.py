"""HELP's and NASFLAT's methods as their own code was run: source devices to new ones. Ten minutes on an idle core;
what is trained stays in runs/peers. Needs `python -m datasets fetch help`."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=("-m studies.peers.study",),
    folder=Path("runs/peers"),
)
