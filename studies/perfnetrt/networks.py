"""PerfNetRT on whole networks: `python -m studies.perfnetrt.networks` writes rows to runs/perfnetrt/summary.json.

Layers are learnt from the bundled tables; whole networks are the test set, except for the first `few` random ones,
whose latencies correct a device's sums (or adapt the predictor to a new device). Only the part `figure4_measure`
measures; it continues where it was stopped.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from datasets.cli import main
from datasets.networks.builder import NetworkBuilder
from datasets.networks.network import Network
from datasets.records import Measurements
from predictors.networks.learnt import LAYERS
from predictors.networks.price import price
from predictors.regressor import Regressor
from studies.parts import run_parts
from studies.perfnetrt.baselines import costs_of
from studies.perfnetrt.figure4 import figure4, figure4_measure
from studies.perfnetrt.inputs import Inputs
from studies.perfnetrt.network_errors import networks, partitions
from studies.perfnetrt.new_devices import adapted


def artefact(inputs: Inputs) -> list[dict]:
    """Fit everything anew, and write the predictor that is shipped, corrected by all measured networks."""
    start = time.process_time()
    whole = inputs.fit().calibrated(Measurements.concat(inputs.networks))
    whole.save(inputs.out / "predictor.pt")
    rows = []
    for d, (device, found) in enumerate(zip(whole.devices_, whole.calibrations_, strict=True)):
        error = float(np.abs(np.expm1(-found.errors)).mean())
        machine = dict(zip(("macs_a_ms", "bytes_a_ms", "session_ms"), whole.layers.machine[d], strict=True))
        deviations = dict(zip((f"log_error_{kind}" for kind in LAYERS), costs_of(whole).deviations[d], strict=True))
        rows.append(
            {"device": device.name, "networks": len(found.errors), "left_out_mape": error, **machine, **deviations}
        )
    return [*rows, {"fit_cpu_s": time.process_time() - start}]


def layers_200() -> Network:
    """A residual network that runtimes run as 200 layers: convolutions with what is folded in, additions, two poolings
    and a classifier."""
    net = NetworkBuilder()
    x = net.pool("max_pool", net.conv_bn(net.add("input", (3, 224, 224)), 64, 7, 2, act="relu"), 3, 2, pad=1)
    x = net.conv_bn(x, 32, 1, act="relu")
    for block in range(64):
        channels = 32 * 2 ** (block // 16)
        if block in (16, 32, 48):
            x = net.conv_bn(x, channels, 3, 2, act="relu")
        inner = net.conv_bn(net.conv_bn(x, channels, 3, act="relu"), channels, 3)
        x = net.pointwise("relu", net.pointwise("add", inner, x))
    net.add("dense", (1000,), net.pool("avg_pool", x, 7, 1))
    return net.finish("", "")


def fast(inputs: Inputs) -> list[dict]:
    """CPU time in ms of pricing a network of 200 layers after loading, median of nine."""
    network, predictor, times = layers_200(), inputs.predictor, []
    price(predictor, network, predictor.devices_[0])
    for _ in range(9):
        start = time.process_time()
        count = len(price(predictor, network, predictor.devices_[0]).pieces)
        times.append(1000 * (time.process_time() - start))
    return [{"layers": count, "cpu_ms": float(np.median(times))}]


def study(
    out: Path = Path("runs/perfnetrt"),
    part: str = "artefact,networks,partitions,adapted,fast,figure4_measure,figure4",
    tables: Path = Path("datasets/bundled"),
    layer: Regressor | None = None,
    few: int = 20,
    core: int | None = None,
    host: str = "host",
) -> None:
    """Run the parts and write what they find.

    Args:
        out: folder of what is written, summary.json among it; rows of parts that are not run stay as they are.
        part: names of parts, separated by commas.
        tables: folder of convolution, pooling, dense, convnet and zoo.parquet.
        layer: predictor of single layers, a file of configs/predictors; by default boosted trees.
        few: number of measured networks that correct a device's sums, or adapt the predictor to a new one.
        core: processor core on which Figure 4 is measured.
        host: name of the machine on which Figure 4 is measured; rows are compared with the devices of that name.
    """
    out.mkdir(parents=True, exist_ok=True)
    inputs = Inputs(out, tables, layer, few)
    parts = {
        "artefact": lambda: artefact(inputs),
        "networks": lambda: networks(inputs),
        "partitions": lambda: partitions(inputs),
        "adapted": lambda: adapted(inputs),
        "fast": lambda: fast(inputs),
        "figure4_measure": lambda: figure4_measure(inputs, core, host),
        "figure4": lambda: figure4(inputs),
    }
    run_parts(parts, part, out)


if __name__ == "__main__":
    main(study, prog="python -m studies.perfnetrt.networks")
