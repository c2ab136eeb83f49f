"""Commands about single networks: `build`, `delegates`, `timeline`, `lookup`, `blackbox`."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from datasets.files.writing import check_writable, whole_file, write_text
from datasets.networks.sizes import Sizes
from measure.commands.flags import Process, Runs, as_json, at_least, one_device, parse_backends, progress


def build(
    arch: str,
    space: str = "nasbench201",
    backend: str = "litert",
    block: bool = False,
    out: Path = Path("runs/build"),
    sizes: Sizes = Sizes(),
) -> None:
    """Write the file that a runtime loads (.onnx, .tflite, .keras, ...), with its own weights or seeded ones.

    A file that the runtime runs as it is is copied.

    Args:
        arch: the architecture, in the text form of the space; or a network by its own name: an .onnx, .keras, .tflite,
            .pt2 or .param file, SPACE:ARCHITECTURE as zoo:resnet18, or torch:MODULE:CALLABLE, which imports that
            module.
        space: search space of the architecture, with its skeleton.
        backend: runtime that loads the file, name[:precision[:batch]].
        block: build the space's basic block alone instead of the whole network.
        out: folder of the file.
        sizes: sizes that an ONNX file leaves open besides the batch.
    """
    from datasets.networks.model import Model
    from datasets.spaces import parse_space
    from measure.backends import parse_backend
    from measure.network_files import named_model

    device = parse_backend(backend)
    if block:
        (cell,) = parse_space(space).parse([arch])
        model = Model(parse_space(space).block(cell))
    else:
        model = named_model(arch, device, space, sizes)
    with TemporaryDirectory() as folder:
        built = device.file(model, Path(folder))
        path = out / built.name
        for file in device.parts(built):
            with whole_file(out / file.name) as part:
                shutil.copyfile(file, part)
    print(f"{path} ({path.stat().st_size:,} bytes)")


def delegates(file: Path) -> None:
    """Show which operators of a .tflite file a GPU or NNAPI would leave to the CPU.

    LETI measures only models that are delegated completely.

    Args:
        file: the .tflite file.
    """
    from measure.builders.delegates import DELEGATES, refused

    for delegate in DELEGATES:
        reasons = refused(file, delegate)
        print(f"{delegate}: {'takes all of it' if not reasons else f'refuses {len(reasons)} operators'}")
        for reason in dict.fromkeys(reasons):
            print(f"  {reason}")


def timeline(
    arch: str,
    space: str = "nasbench201",
    backend: str = "ort",
    core: int | None = None,
    threads: int = 1,
    sizes: Sizes = Sizes(),
    inputs: Path | None = None,
) -> None:
    """Print the kernels of one run, measured by the runtime's own profiler.

    Args:
        arch: the architecture, in the text form of the space; or a network by its own name: an .onnx, .keras, .tflite,
            .pt2 or .param file, SPACE:ARCHITECTURE as zoo:resnet18, or torch:MODULE:CALLABLE, which imports that
            module.
        space: search space of the architecture, with its skeleton.
        backend: a runtime with a profiler: ort, openvino, eager, ...
        core: pin this process to one processor core.
        threads: number of threads that compute.
        sizes: of what an ONNX file leaves open besides the batch.
        inputs: an .npz file with values of a file's inputs by their names, instead of drawn ones.
    """
    from measure.kernels import timeline as kernels
    from measure.network_files import named_model

    (device,) = parse_backends(backend, core, threads=str(threads))
    table = kernels(device, named_model(arch, device, space, sizes, inputs))
    print(table.to_string(index=False, float_format="%.1f"))
    print(f"{table['duration_us'].sum():.1f} us in {len(table)} kernels")


def lookup(
    arch: str,
    space: str = "nasbench201",
    backend: str = "ort",
    timing: Runs = Runs(repeats=3),
    reasons: bool = False,
    largest: int = 10,
    journal: Path = Path("runs/measure/lookup.jsonl"),
    out: Path | None = None,
    sizes: Sizes = Sizes(),
) -> None:
    """Measure a network, and its layers one by one, and compare the sum with the whole (LETI, Table 1).

    Args:
        arch: the architecture, as in `build`.
        space: space of the architecture, as in `run`.
        backend: a single runtime, as in `run`.
        timing: number of passes over everything; +- is the standard deviation over them.
        reasons: also measure layers with a cold cache, and in pairs with their predecessors, which explains the
            difference between the sum and the whole.
        largest: number of layers to print.
        journal: file of all measurements; layers that it contains are not measured again.
        out: JSON file for all results.
        sizes: sizes that an ONNX file leaves open besides the batch.
    """
    from measure.bench import Worker
    from measure.campaign import Journal
    from measure.lookup import Lookup
    from measure.network_files import on_device, read_subject, subject_of

    if out is not None:
        check_writable(out)
    at_least(1, largest=largest)
    device = one_device(backend, timing)
    whole = subject_of(arch, space, sizes)
    device, network = on_device(device, whole), read_subject(whole, device.batch).network
    with Worker(timing.timeout) as bench:
        table = Lookup(device, Journal(journal), timing.repeats, reasons, bench)
        with progress(sum(len(tasks) for *_, tasks in table.tasks(network, whole))) as bar:
            result = table.measure(network, lambda row: bar.update() and None, whole)
    import pandas as pd

    print(f"{result['network']} on {result['device']}: {result['entries']} layers, {result['different']} different "
          f"ones; a call costs {1000 * result['call_ms']:.1f} us\n")  # fmt: skip
    for row in result["sums"]:
        print(f"{row['what']:<22} {row['ms']:10.4f} ms +- {row['sd']:.4f}   {row['error']:+6.1f} %")
    for row in result["unmeasured"][:largest]:
        print(f"not measured alone: {row['count']} x {row['layer']}, {row['macs']:.1f} % of multiply-accumulates, "
              f"{row['bytes']:.1f} % of bytes")  # fmt: skip
    if result["failed_pairs"]:
        print(f"{result['failed_pairs']} pairs could not be measured and count as their layers alone")
    print("\n" + pd.DataFrame(result["layers"][:largest]).to_string(index=False, float_format="%.4f"))
    if out is not None:
        write_text(out, as_json(result))


def blackbox(
    budget_ms: float,
    space: str = "nasbench201",
    backend: str = "ort",
    evaluations: int = 30,
    seed: int = 0,
    journal: Path = Path("runs/measure/blackbox.jsonl"),
    timing: Process = Process(),
) -> None:
    """Search with Nevergrad for the architecture with the most parameters within a latency budget, measured live.

    A search that was interrupted is continued by the same command: measurements are not repeated.

    Args:
        budget_ms: largest latency allowed.
        space: space of the architecture, as in `run`.
        backend: a single runtime, as in `run`.
        evaluations: number of architectures that Nevergrad proposes; repeated proposals cost nothing.
        seed: seed of Nevergrad.
        journal: file of the measurements.
        timing: the process that measures.
    """
    from datasets.records import InputError
    from datasets.spaces import open_space
    from measure.bench import Worker
    from measure.blackbox import BlackBox, Live, minimise, parameters
    from measure.campaign import Journal

    at_least(0, budget_ms=budget_ms)
    at_least(1, 1_000_000, evaluations=evaluations)
    at_least(0, 2**32 - 1, seed=seed)
    searched = open_space(space)
    device = one_device(backend, timing)
    with Worker(timing.timeout) as bench, progress(evaluations) as bar:
        live = Live(searched, device, Journal(journal), bench)
        objective = BlackBox(searched, live, budget_ms)
        minimise(objective, evaluations, seed, lambda value: bar.update() and None)
        best = objective.best()
    if best is None:
        raise InputError(f"None of {len(objective.evaluated)} architectures keeps {budget_ms} ms; allow more.")
    archs = searched.parse([best])
    print(f"{best}\n{live(archs)[0]:.4f} ms of {budget_ms:g}, {parameters(archs)[0]:,.0f} parameters")
    print(f"{evaluations} evaluations, {len(objective.evaluated)} architectures, {live.measured} measured now")
