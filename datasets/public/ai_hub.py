"""Qualcomm AI Hub's measurements of its models: 148 on 14 chips, by three runtimes, float and quantised.

Per row the latency of one run in milliseconds, the peak memory in MB (the upper end of an estimated range), and the
share of the layers that ran elsewhere than on the neural processor (NPU). Known traps:

- Models are known by name only, so rows are no networks: the space has one column, `network`. What a model is made of
  (`bevfusion_det/BEVFusionDecoder`) was measured part by part. Graphs are known of up to 16 image networks: three of
  `Zoo`, the others of timm as far as its bundled graphs have them for images of 224 pixels.
- `float` is the precision of the file; NPUs compute it in fp16. `w8a16` has weights of 8 and activations of 16 bits.
- Runtimes take files compiled elsewhere (qnn_context_binary, precompiled_qnn_onnx) or what they compile on the device
  (qnn_dlc, onnx, tflite); a name of a device holds which.
- "Proxy" devices are stand-ins for a chip. All 425 numbers of SA7255P are those of QCS8275 (Proxy), its family.
- Where few or no layers ran on the NPU, a row is of the processor: `off_npu` is near 1.
- Language models have other files and no latency: they are left out, as failures are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from datasets.base import Dataset
from datasets.blocks.decisions import Column
from datasets.columns import Columns
from datasets.files.reading import parse_yaml, read_text
from datasets.networks.network import Network
from datasets.public.ai_hub_files import AI_HUB, FILES
from datasets.public.timm import read_graphs
from datasets.records import Architectures, Device, InputError, Measurements, Networks
from datasets.spaces.zoo import Zoo

SOURCE = AI_HUB

CHIPS = {
    "Dragonwing IQ-9075 EVK": "qcs9075",
    "Dragonwing Q-6690 MTP": "qcm6690",
    "Dragonwing RB3 Gen 2 Vision Kit": "qcs6490",
    "QCS8275 (Proxy)": "qcs8275",
    "QCS8450 (Proxy)": "qcs8450",
    "QCS8550 (Proxy)": "qcs8550",
    "SA7255P ADP": "qcs8275",
    "SA8295P ADP": "sa8295p",
    "SA8775P ADP": "sa8775p",
    "Samsung Galaxy S24": "snapdragon-8gen3",
    "Samsung Galaxy S25": "snapdragon-8-elite",
    "Snapdragon 7 Gen 4 QRD": "snapdragon-7gen4",
    "Snapdragon 8 Elite Gen 5 QRD": "snapdragon-8-elite-gen5",
    "Snapdragon X Elite CRD": "snapdragon-x-elite",
}
"""Device -> its chip, the family."""

RUNTIMES = {
    "tflite": "tflite", "qnn_dlc": "qnn", "qnn_context_binary": "qnn", "onnx": "onnx", "precompiled_qnn_onnx": "onnx"
}  # fmt: skip
"""Kind of file that was run -> its runtime."""

TIMM = {
    "beit": "beit_base_patch16_224", "convnext_base": "convnext_base", "convnext_tiny": "convnext_tiny",
    "densenet121": "densenet121", "efficientnet_b0": "efficientnet_b0", 
    "mobilenet_v3_large": "mobilenetv3_large_100", "mobilenet_v3_small": "mobilenetv3_small_100",
    "regnet_y_800mf": "regnety_008", "resnet101": "resnet101",
    "resnext50": "resnext50_32x4d", "resnext101": "resnext101_32x8d", "vit": "vit_base_patch16_224",
    "wideresnet50": "wide_resnet50_2",
}  # fmt: skip
"""Model -> timm's name of the same network, of images of `TIMM_SIDE`."""
TIMM_SIDE = 224
ZOO = ("mobilenet_v2", "resnet18", "resnet50")
"""Models that are networks of `Zoo`."""

Precision = Literal["", "float", "w8a8", "w8a16", "w16a16", "w8a8_mixed_int16", "w8a16_mixed_int16", "w8a16_mixed_fp16"]


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        network: model, or model/part.
        device: name in the file.
        file: key of `RUNTIMES`.
        precision: precision of weights and activations.
        values: by metric.
    """

    network: str
    device: str
    file: str
    precision: str
    values: Mapping[str, float]


def read_rows(model: str) -> list[Row]:
    """The measurements of a model, failures left out.

    Raises:
        InputError: its file is missing or damaged.
    """
    path = SOURCE.need(FILES[model])
    hint = f"delete it and run `python -m datasets fetch {SOURCE.name}`"
    content = parse_yaml(read_text(path, hint), str(path), quick=True)
    try:
        return list(_rows(model, content["precisions"]))
    except (AttributeError, TypeError, ValueError, KeyError, OverflowError) as error:
        raise InputError(f"{path} is damaged or another file ({error!r:.100}); {hint}.") from None


def _rows(model: str, precisions: Any) -> Iterator[Row]:
    parts = {part for found in precisions.values() for part in found["components"]}
    for precision, found in precisions.items():
        for part, component in found["components"].items():
            network = f"{model}/{part}" if len(parts) > 1 else model
            for name, runs in (component.get("performance_metrics") or {}).items():
                for file, run in runs.items():
                    if name in CHIPS and file in RUNTIMES and run.get("inference_time_milliseconds") is not None:
                        yield Row(network, name, file, str(precision), _values(run))


def _values(run: Mapping[str, Any]) -> dict[str, float]:
    layers = run["layer_counts"]
    values = {
        "latency_ms": float(run["inference_time_milliseconds"]),
        "peak_mb": float(run["estimated_peak_memory_range_mb"]["max"]),
        "off_npu": 1 - layers.get("npu", 0) / layers["total"] if layers["total"] > 0 else np.nan,
    }
    return {metric: value for metric, value in values.items() if value > 0 or (metric == "off_npu" and value == 0)}


@dataclass
class AiHub(Dataset):
    """Latency, peak memory and share of layers off the NPU of models by name, of those whose files are present.

    Attributes:
        precision: precision of the models; '' for all.
        runtime: tflite, qnn or onnx; '' for all.
        graphs: only models whose graphs are known, as networks instead of names.
    """

    precision: Precision = ""
    runtime: Literal["", "tflite", "qnn", "onnx"] = ""
    graphs: bool = False

    def measurements(self) -> Measurements:
        import pandas as pd

        models = [model for model in FILES if SOURCE.path(FILES[model]).is_file()]
        rows = [row for model in models or FILES for row in read_rows(model)]
        rows = [row for row in rows if self.precision in ("", row.precision)]
        rows = [row for row in rows if self.runtime in ("", RUNTIMES[row.file])]
        graphs = _graphs() if self.graphs else {}
        rows = [row for row in rows if not self.graphs or row.network in graphs]
        if not rows:
            raise InputError(f"AI Hub has no rows of precision '{self.precision}' and runtime '{self.runtime}'.")
        networks = sorted({row.network for row in rows})
        devices = {found.name: found for found in map(device, rows)}
        places = {name: place for place, name in enumerate(devices)}
        table = pd.DataFrame([
            {"arch": networks.index(row.network), "device": places[device(row).name], "metric": metric, "value": value}
            for row in rows
            for metric, value in row.values.items()
        ])  # fmt: skip
        archs: Architectures = Networks(graphs[name] for name in networks if self.graphs)
        if not self.graphs:
            space = Columns((Column("network", tuple(networks)),))
            archs = Architectures(space, np.arange(len(networks))[:, None])
        return Measurements(archs, list(devices.values()), table, "ai-hub")


def _graphs() -> dict[str, Network]:
    """The networks of models whose graphs are known."""
    zoo = Zoo()
    table, networks = read_graphs()
    pairs = zip(table["model"], table["side"], strict=True)
    known = dict(zip(pairs, networks, strict=True))
    found = {model: zoo.expand(zoo.parse([model])[0]) for model in ZOO}
    return found | {model: known[name, TIMM_SIDE] for model, name in TIMM.items() if (name, TIMM_SIDE) in known}


def board(name: str) -> str:
    """A device's name in names of ours."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def device(row: Row) -> Device:
    """The device of a row: a chip with a runtime, a kind of file and a precision."""
    name = f"{board(row.device)}_{row.file}_{row.precision}_1"
    return Device(name, CHIPS[row.device], "dsp", RUNTIMES[row.file], row.precision)
