"""Commands that learn beside `train.py`: sums of layers (`layerwise`) and new devices (`choose`, `adapt`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from datasets.files.writing import check_writable
from datasets.records import InputError, Measurements
from predictors.base import Predictor
from predictors.regressor import Regressor


def layerwise(
    out: Path = Path("runs/layers/predictor.pt"),
    layer: Regressor | None = None,
    tables: Path = Path("datasets/bundled"),
    networks: str = "zoo,convnet,networks",
    devices: str = "",
    lut: Path | None = None,
) -> None:
    """Fit predictors to tables of single layers and write one file that predicts any network (`predict --network`).

    The file names its tables by their fingerprints, and errors by device: of layers that were held out (root mean
    squares of logarithms) and of networks that were left out (means). With `lut` it predicts networks by a look-up
    table of their own layers.

    Args:
        out: the file.
        layer: predictor of each kind of layer, a file of configs/predictors; by default boosted trees.
        tables: folder of convolution.parquet, pooling.parquet and dense.parquet, and of tables of single operations
            (matmul.parquet, attention.parquet, ...), which are read where there are any.
        networks: tables of whole networks in the same folder that calibrate the sums, separated by commas; '': none.
            A device of a known machine and runtime in another precision joins those of the layers by its networks.
        devices: names of devices to learn, separated by commas; by default all that the tables of layers share.
        lut: instead of `tables`, a look-up table of networks' own layers, as `python -m measure run --layers true` (or
            `--space layers`) and `measure table` write it; whole networks in it calibrate the sums.
    """
    import numpy as np
    from tqdm import tqdm

    from datasets.measured import located
    from predictors.networks.layer_sum import LayerSum
    from predictors.networks.learnt import LAYERS, Learnt
    from predictors.networks.operations import OPERATIONS
    from predictors.networks.related import with_related
    from predictors.networks.table_files import base_name, fastest_references, layer_tables, read_tables

    if lut is not None:
        if layer or devices:
            raise InputError("A look-up table (--lut) has its own devices and learns no layers: leave the others out.")
        check_writable(out, lut)
        _written(LayerSum.tabulated(lut, log=lambda message, **numbers: print(message)), out)
        return
    check_writable(out, *Path(tables).glob("*.parquet"))
    chosen = _listed(devices)
    bases = list(dict.fromkeys(name for one in chosen for name in (one, base_name(one))))
    references = fastest_references(located(tables))  # times of all tables are those at one speed of the machine
    layers = layer_tables(tables, LAYERS, OPERATIONS, bases, references)
    names = _listed(networks)
    whole = read_tables(tables, names, chosen, references)
    costs = Learnt.with_layer(layer) if layer else Learnt()
    costs.tables = tables
    with tqdm(total=len(layers), unit="table", disable=None) as bar:

        def log(message: str, **numbers: float) -> None:
            bar.write(message)
            bar.update(message.partition(":")[0] in layers)  # the errors of a table

        predictor = with_related(LayerSum.summing(costs.fit(layers, log)), tables, chosen, log, references)
        if whole:
            known, measured = {device.name for device in predictor.devices_}, Measurements.concat(whole)
            added = [d for d in measured.devices if d.name not in known and base_name(d.name) in known]
            predictor = predictor.calibrated(measured, log, added)
    used = layers | dict(zip(names, whole, strict=True))
    errors = {d.name: dict(zip(LAYERS, row, strict=True))
              for d, row in zip(costs.devices, costs.deviations.round(4).tolist(), strict=True)}  # fmt: skip
    errors |= {device.name: {} for device in predictor.devices_ if device.name not in errors}
    for kind, deviations in costs.operations.deviations.items():
        for name in deviations.keys() & errors.keys():
            errors[name][kind] = round(deviations[name], 4)
    for device, calibration in zip(predictor.devices_, predictor.calibrations_, strict=True):
        if len(calibration.errors):
            errors[device.name]["networks"] = round(float(np.abs(np.expm1(calibration.errors)).mean()), 4)
    predictor.metadata_ = {"tables": {name: m.fingerprint() for name, m in used.items()}, "errors": errors}
    _written(predictor, out)


def networks(
    out: Path = Path("runs/networks/predictor.pt"),
    predictor: Regressor | None = None,
    tables: Path = Path("datasets/bundled"),
    names: str = "networks,convnet,zoo,nasbench201,convolution,dense,pooling",
    most: int = 1000,
    devices: str = "",
    seed: int = 0,
) -> None:
    """Fit one predictor to layers, cells and networks together and write a file that predicts any network.

    A tenth of the architectures of each table is held out; errors on them are printed and kept in the file.

    Args:
        out: the file.
        predictor: a file of configs/predictors; by default a GraphNet that adapts to new devices.
        tables: folder of the tables.
        names: names of tables in it, separated by commas.
        most: largest number of architectures of one table; of larger ones, so many are drawn at random.
        devices: names of devices to learn, separated by commas; by default all.
        seed: seed of the draws.
    """
    from predictors.networks.together import learnt_together, together

    def log(message: str, **numbers: float) -> None:
        print(message, flush=True)

    check_writable(out, *Path(tables).glob("*.parquet"))
    _written(learnt_together(together(tables, _listed(names), _listed(devices), most, seed), predictor, log), out)


def _listed(names: str) -> list[str]:
    return [name for name in names.split(",") if name]


def _written(predictor: Predictor, out: Path) -> None:
    predictor.save(out)
    print(f"{out}: prices networks on {', '.join(device.name for device in predictor.devices_)}")


def choose(file: Path, n: int = 10, archs: Path | None = None, seed: int = 0, space: str = "convnet") -> None:
    """Print the architectures to measure on a new device, one per line, as `python -m measure run --archs` reads them.

    Args:
        file: a predictor.pt that can adapt, fitted on other devices; or a file that `layerwise` wrote.
        n: number of architectures.
        archs: a file of the architectures to choose among, one per line; by default 2,000 random connected ones. For a
            file that `layerwise` wrote, lines may also be names of .onnx, .keras, .tflite or .param files, or
            SPACE:ARCHITECTURE (for example zoo:resnet18); `measure run --space networks --archs` then reads the output.
        seed: seed of random choices.
        space: space of the networks to choose among, for a file that `layerwise` wrote; others have their own.
    """
    import numpy as np
    from tqdm import tqdm

    from datasets.files.reading import read_words
    from datasets.networks.collection import AnyNetwork
    from datasets.records import Networks
    from datasets.spaces import parse_space
    from predictors.networks.costs import MOST_POOL
    from predictors.networks.layer_sum import LayerSum
    from predictors.new_devices.few_measurements import parse_keys

    if n < 1:
        raise InputError(f"--n {n} architectures cannot be chosen; ask for 1 or more.")
    words = None if archs is None else read_words(archs, "it should hold one architecture a line")
    predictor, rng = _adaptable(file), np.random.default_rng(seed)
    own = predictor.space_
    drawn = parse_space(space) if isinstance(own, AnyNetwork) else own
    pool = drawn.sample(2000, rng) if words is None else parse_keys(words, own, archs, space)
    words_of: dict[tuple[str, str], str] = {}
    if isinstance(pool, Networks):
        words_of = {(network.space, network.key): word for network, word in zip(pool, words or (), strict=True)}
        pool = pool[np.unique(pool.positions(pool))]
    else:
        pool = pool[np.unique(pool.decisions, axis=0, return_index=True)[1]]
    pool = pool[np.flatnonzero(pool.space.connected(pool) & pool.space.feasible(pool))]
    if n > len(pool):
        whose = "are drawn to choose among; name more with --archs" if archs is None else f"of {archs} can be measured"
        raise InputError(f"--n {n} architectures cannot be chosen: {len(pool)} {whose}.")
    if isinstance(predictor, LayerSum):
        with tqdm(total=min(len(pool), MOST_POOL), unit="network", disable=None) as bar:

            def log(message: str, **numbers: float) -> None:
                bar.update(numbers["networks"])

            chosen = predictor.choose(pool, n, rng, log)
    else:
        chosen = predictor.choose(pool, n, rng)
    print("\n".join(words_of[network.space, network.key] for network in chosen) if words_of else "\n".join(chosen.keys))


def _adaptable(file: Path) -> Any:
    """Load a predictor that has `adapt`; others raise `InputError`."""
    from predictors.base import Adaptable

    def check(described: Predictor) -> None:
        if not isinstance(described, Adaptable):
            raise InputError(f"{file} cannot adapt to a new device; fit one of configs/predictors/conditioned.yaml.")

    return Predictor.load(file, check)


def _of_metric(predictor: Any, metric: str, file: Path) -> Any:
    """The predictor itself, or a sum of the energies of layers made of a sum of their times."""
    from predictors.networks.energy import Energies
    from predictors.networks.layer_sum import LayerSum

    if metric in ("", predictor.metric):
        return predictor
    if isinstance(predictor, LayerSum) and (predictor.metric, metric) == ("latency_ms", Energies.metric):
        return Energies.like(predictor)
    raise InputError(
        f"{file} predicts {predictor.metric} and cannot learn '{metric}'; --metric {Energies.metric} is for files of "
        "times that `layerwise` wrote, such as predictors/networks/pricer.pt."
    )


def adapt(
    file: Path,
    measurements: str | None = None,
    out: Path = Path("runs/mine.pt"),
    device: str = "",
    space: str = "convnet",
    unit: str = "",
    metric: str = "",
) -> None:
    """Adapt a predictor to a new device by a few measurements, and save the adapted predictor.

    Args:
        file: a predictor.pt that can adapt, fitted on other devices; or a file that `layerwise` wrote.
        measurements: a table of `python -m measure table` (.parquet), a .yaml of configs/datasets, or a .csv with the
            columns key (or network) and value, and space, device, metric, batch and unit if it has them; the header of
            the values may state their unit (value_us). Several are separated by commas. Keys of networks may be
            files, or SPACE:ARCHITECTURE (for example zoo:resnet18).
        out: the predictor.pt to write.
        device: which device of the table (needed where it has several), or the name of the .csv's.
        space: space of keys of a .csv that name none, for a file that `layerwise` wrote.
        unit: unit of the values: ns, us, ms, s or fps (images per second), uJ, mJ or J; by default that of the file, or
            the predictor's own.
        metric: metric to learn: energy_mj for energies of networks, by a file of times that `layerwise` wrote; by
            default the file's own.
    """
    import time

    from predictors.new_devices.few_measurements import read_measurements

    if measurements is None:
        raise InputError("Say with --measurements what was measured on the new device: a .parquet or .csv file.")
    check_writable(out, file, *str(measurements).split(","))
    predictor = _of_metric(_adaptable(file), metric, file)
    m = read_measurements(measurements, device, predictor, unit, space)
    start = time.perf_counter()
    adapted = predictor.adapt(m)
    seconds = time.perf_counter() - start
    if doubtful := _doubts(measurements):
        adapted.metadata_.setdefault("adapted", {})["doubts"] = doubtful
    adapted.save(out)
    distinct = len(m.distinct().architectures)
    learnt = f"{len(m.table)} measurements of {distinct} architectures"
    print(f"{out}: answers for {m.devices[0].name}; {learnt}, learnt in {seconds:.1f} s")
    print(*_own_errors(adapted), sep="\n", end="")
    for sentence in doubtful:
        print(f"warning: {sentence}", file=sys.stderr)


def _own_errors(adapted: Any) -> list[str]:
    """A line on how well an adapted sum of layers predicts each of its samples from the others."""
    import numpy as np

    from predictors.networks.layer_sum import LayerSum

    errors = adapted.calibration(None).errors if isinstance(adapted, LayerSum) else ()
    if not len(errors):
        return []
    off = np.abs(np.expm1(-np.asarray(errors)))
    return [f"each of these networks, predicted from the others, is off by {100 * np.median(off):.0f} % (median), "
            f"{100 * off.max():.0f} % at most\n"]  # fmt: skip


def _doubts(measurements: str) -> list[str]:
    """Sentences on unstable and unreliable rows of measured tables, by their metadata."""
    from datasets.files.table_file import read_table
    from predictors.networks.price_report import printable

    found, again = [], "milliseconds may be far off: `measure run --retry true` measures them again on a quiet machine."
    for path in (path for path in str(measurements).split(",") if path.endswith(".parquet")):
        table, meta = read_table(Path(path))
        if isinstance(count := meta.get("unstable"), int) and count:
            found.append(f"of the {len(table)} samples in {Path(path).name} the runs of {count} varied by more than a "
                         f"tenth; {again}")  # fmt: skip
        unreliable = meta.get("unreliable")
        for sentence in unreliable.values() if isinstance(unreliable, dict) else ():
            found.append(f"of the samples in {Path(path).name}, {printable(str(sentence), 200)}; {again}")
    return found
