"""Decisions on networks: `gnomon check` on recorded runs under load, and on live ones (they measure on this machine);
what choices of settings lose on public tables. Requires the data sets ncnn and
ai-hub-models. Three quarters of an hour."""

from pathlib import Path

from studies.study import Study

STUDY = Study(steps=("-m studies.decide.study",), folder=Path("runs/decide"))
