"""Decisions on networks: `gnomon check` on recorded runs under load, and on live ones; what choices of settings lose on
public tables and on ours; language models and edits of networks, measured on this machine. Requires the data sets ncnn
and ai-hub-models. An hour and a half."""

from pathlib import Path

from studies.study import Study

STUDY = Study(steps=("-m studies.decide.study",), folder=Path("runs/decide"))
