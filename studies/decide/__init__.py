"""Decisions on networks: `gnomon check` on recorded runs under load, and on live ones (they measure on this machine).
Half an hour."""

from pathlib import Path

from studies.study import Study

STUDY = Study(steps=("-m studies.decide.study",), folder=Path("runs/decide"))
