"""Downloaded files of others, below the folder of public data: pickles, CSV and Parquet tables."""

import io
import pickle
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.doubles.ncnn_files import IMAGES
from tests.fuzz import inputs
from tests.fuzz.families.tables import change_table
from tests.fuzz.family import Command, Family, Files
from tests.fuzz.mutations import any_damage, change_text, change_tree

CLASSES = {
    "oneproxy": "oneproxy.OneProxy", "latbench-brp-nas": "latbench.LatBench", "neusight": "neusight.NeuSight",
    "hw-nas-bench-360": "pi5.HwNasBench360", "dl-energy-estimator": "dl_energy.DlEnergy", "timm": "timm.Timm",
    "ncnn": "ncnn.Ncnn",
}  # fmt: skip


class Loud:
    """What runs something when it is unpickled."""

    def __reduce__(self) -> tuple:
        import os

        return os.system, ("true",)


def change_pickle(content: bytes, rng: Random) -> bytes:
    """A pickle with an edited tree, of something else, or damaged."""
    if rng.random() < 0.4:
        return any_damage(content, rng)
    tree: Any = change_tree(pickle.loads(content), rng)
    if rng.random() < 0.1:
        tree = rng.choice(
            (Loud(), [Loud()], np.arange(3), np.array([Loud()], object), {1: np.float64(2)}, range(10**9))
        )
    return pickle.dumps(tree, protocol=rng.choice((0, 2, 4, 5)))


def _stored(source: str, files: dict[str, bytes]) -> Files:
    """Files of a source, as they lie in the folder of public data."""
    names = {f"public/{source}/{name}": content for name, content in files.items()}
    return {**names, "data.yaml": f"class_path: datasets.public.{CLASSES[source]}\n".encode()}


_NCNN = """### Station P2, Rockchip RK3568 (Cortex-A55 2.0GHz x 4)
```
p2:/ # ./benchncnn 4 4 0 -1 1
num_threads = 4
powersave = 0
gpu_device = -1
             alexnet  min =   51.00  max =   53.00  avg =   52.00
```
"""


def _make(folder: Path) -> list[Files]:
    import pandas as pd

    cells = inputs.SPACE.sample(20, np.random.default_rng(0)).decisions
    one_hot = np.concatenate([np.eye(5)[cells].reshape(20, 30), np.ones((20, 1))], axis=1)
    proxy = {"encode.pickle": pickle.dumps(one_hot.tolist())}
    proxy |= {
        f"latency_data/{name}.pickle": pickle.dumps(list(map(np.float64, range(20))))
        for name in ("eagle_i7", "rice_fpga")
    }
    desktop = {
        "examples/desktop-cpu-core-i7-7820x-fp32.pkl": pickle.dumps({tuple(map(int, row)): 0.1 for row in cells})
    }
    sizes = {"B": [1, 2, 4], "Input_Size": [7, 14, 28], "Input_Channel": [3, 8, 16], "Output_Channel": [8, 8, 9]}
    fixed = {"Kernel_Szie": [3] * 3, "Stride": [1] * 3, "Padding": [1] * 3, "Latency": [0.1, 0.2, 0.4]}
    kernels = pd.DataFrame(sizes | fixed).to_csv(index=False).encode()
    rows = {"arch_idx": range(8), "rep_arch_idx": range(8), "device": "pi5", "framework": ["litert", "onnx"] * 4}
    rows |= {"task": "cifar100", "lat_ms_median": np.arange(8.0) + 1, "energy_mj": np.arange(8.0) + 2, "status": "ok"}
    layers = {"batch_size": [1, 2], "input_size": [9, 8], "output_size": 7, "forward_passes": [9, 8.5]}
    layers |= {"cpu_energy": [1e-9, 2e-9], "duration": [30.0, 31]}
    images = b"model,infer_img_size,infer_samples_per_sec,infer_gmacs\nlcnet_035,224,9000.5,0.03\n"
    saved = io.BytesIO()
    pd.DataFrame(rows).to_parquet(saved)
    return [
        _stored("oneproxy", proxy),
        _stored("latbench-brp-nas", desktop),
        _stored("neusight", {"scripts/asplos/data/dataset/train/collect/conv/p2.1.0/Tesla P4.csv": kernels}),
        _stored(
            "dl-energy-estimator", {"estimator/data/linear.csv": pd.DataFrame(layers).to_csv(index=False).encode()}
        ),
        _stored("timm", {"results/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv": images}),
        _stored("hw-nas-bench-360", {"results/dataset.parquet": saved.getvalue()}),
        _stored("ncnn", {"benchmark/README.md": _NCNN.encode(), "benchmark/models/alexnet.param": IMAGES.encode()}),
    ]


def _edit(files: Files, rng: Random) -> Files:
    name = rng.choice([name for name in sorted(files) if name != "data.yaml"])
    texts = dict.fromkeys((".csv", ".md", ".param"), change_text)
    change = ({".parquet": change_table} | texts).get(Path(name).suffix, change_pickle)
    return {**files, name: change(files[name], rng)}


def _describe(case: Path, beside: Path, rng: Random) -> Command:
    return ["datasets", "describe", str(case / "data.yaml")]


FAMILIES = (Family("public file", _make, _edit, _describe),)
