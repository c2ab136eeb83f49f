"""Cells, layers and networks on an NVIDIA GPU, with phases and energy. Eight minutes with a GPU and PyTorch; nothing is
installed, and another run continues."""

from pathlib import Path

from studies.study import Study

STUDY = Study(steps=("-m studies.gpu.study --out runs/gpu",), folder=Path("runs/gpu"))
