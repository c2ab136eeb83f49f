"""The packages that `make setup` leaves out, and what installs one that is missing."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_OPENVINO, _LITERT, _DASK = "openvino nncf", "ai-edge-litert flatbuffers", "dask distributed"
EXTRAS = {
    "openvino": _OPENVINO,
    "nncf": _OPENVINO,
    "ai_edge_litert": _LITERT,
    "flatbuffers": _LITERT,
    "jax": "jax",
    "nevergrad": "nevergrad",
    "dask": _DASK,
    "distributed": _DASK,
}
"""What pip is to install for each package that an extra of pyproject.toml brings."""
CORE = (
    *("jsonargparse", "lightning", "matplotlib", "numpy", "onnx", "onnxmltools", "onnxruntime", "onnxscript", "pandas"),
    *("pyarrow", "scipy", "skl2onnx", "sklearn", "tensorflow", "torch", "torch_geometric", "tqdm", "wandb", "xgboost"),
    "yaml",
)
"""Packages that `make setup` installs, by the names under which they are imported."""
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def absent(packages: Iterable[str]) -> list[str]:
    """Those that are not installed here."""
    return [package for package in packages if not _installed(package)]


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of a.b, where there is no a
        return False


def version_of(package: str) -> str:
    """Version of the distribution that has a package, which is not imported; empty where none of that name is known."""
    for name in (package, f"{package}-cpu", f"{package}-gpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    return ""


def not_installed(package: str) -> str:
    """That a package is missing, and what installs it if an extra of pyproject.toml does; the end of a sentence."""
    sentence = f"the package {package} is not installed"
    if package not in EXTRAS:
        return sentence
    if not CONSTRAINTS.exists():  # another machine, which has only been sent the files that measure
        return f"{sentence}; install it with `pip install {EXTRAS[package]}`"
    return f"{sentence}; install it with `make setup-all` or `pip install -c constraints.txt {EXTRAS[package]}`"
