"""Export of predictors to ONNX, and `OnnxPredictor`, which runs such files without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.classes import check_path, class_named
from datasets.files.digest import MOST_BYTES, digest
from datasets.files.reading import existing, shortened
from datasets.files.writing import write_bytes
from datasets.records import Architectures, Cost, CostModel, Device, InputError
from encoders.base import GraphEncoder, SparseGraphEncoder, VectorEncoder
from predictors.base import Check, Predictor, rebuild
from predictors.onnx_check import check_graph, digest_matches, with_digest
from predictors.regressor import Inputs, Regressor

OPSET = 18
IR_VERSION = 10
TOLERANCE = 1e-4
"""Largest accepted difference between a predictor and its export, relative to the prediction, or to a hundredth of the
mean prediction where that is larger (linear predictors may be near zero)."""


class NoOnnxForm(InputError):
    """The predictor is no `Regressor`, or its `to_onnx` raises NotImplementedError."""


def export(predictor: Predictor, path: Path, checked: int = 200) -> None:
    """Write `predictor.onnx`: the network, the inverse label scale behind it, and the metadata.

    Inputs are the encoder's arrays with a free batch dimension; the output is `<metric>` [batch, devices].

    Args:
        predictor: fitted.
        path: of the file.
        checked: number of random architectures whose predictions are compared before the file is written.

    Raises:
        NoOnnxForm: this predictor has no ONNX form.
        InputError: onnxruntime does not run its model.
        RuntimeError: predictions of the exported model differ; nothing is written.
    """
    write_bytes(path, exported(predictor, checked))


def exported(predictor: Predictor, checked: int = 200) -> bytes:
    """Content of the file that `export` writes, of a fitted predictor, whose predictions of `checked` random
    architectures are compared; raises what `export` does."""
    no_form = f"A {type(predictor).__name__} has no ONNX form; keep its predictor.pt."
    if not isinstance(predictor, Regressor):
        raise NoOnnxForm(no_form)
    archs = predictor.space_.sample(checked, np.random.default_rng(0))
    try:
        model = predictor.to_onnx(predictor.encode(archs[:8]))
    except NotImplementedError as reason:
        raise NoOnnxForm(no_form) from reason
    append_inverse_scale(model, predictor)
    entry = model.metadata_props.add()
    entry.key, entry.value = "gnomon", json.dumps(predictor.metadata())
    content = with_digest(model.SerializeToString(deterministic=True))
    answers = OnnxPredictor(content, "the export").predict_all(archs)
    reference = predictor.predict_all(archs)
    floor = np.abs(reference).mean(axis=0) / 100
    error = float(np.max(np.abs(answers - reference) / np.maximum(np.abs(reference), floor)))
    if not error <= TOLERANCE:
        raise RuntimeError(f"The ONNX export differs from the predictor by {error:.2g} relative; it was not written.")
    return content


def vector_model(nodes: Sequence[Any], tensors: Mapping[str, np.ndarray], x: Inputs) -> Any:
    """Build an ONNX model from `x` [batch, features] to `z` [batch, D].

    Args:
        nodes: in order; the last one writes `z`.
        tensors: constants by name.
        x: example inputs.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "predictor",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", x["x"].shape[1]])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", None])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def append_inverse_scale(model: Any, predictor: Regressor) -> None:
    """Append the inverse of a predictor's label scale to its model; the output is then named after the metric."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    (z,) = (output.name for output in graph.output)
    scale, metric = predictor.scale, predictor.metric
    for name, value in (("scale_std", scale.std_), ("scale_mean", scale.mean_)):
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    last = "log_value" if scale.kind == "log" else metric
    graph.node.append(helper.make_node("Mul", [z, "scale_std"], ["scaled"]))
    graph.node.append(helper.make_node("Add", ["scaled", "scale_mean"], [last]))
    if scale.kind == "log":
        graph.node.append(helper.make_node("Exp", [last], [metric]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(metric, TensorProto.FLOAT, ["batch", len(scale.mean_)]))


def joined(models: Sequence[Any], share_inputs: bool) -> Any:
    """Merge models side by side. Names get the prefixes m0_, m1_, ...; those of inputs only if they are not shared."""
    from onnx import compose, helper

    parts = [compose.add_prefix(model, f"m{i}_", rename_inputs=not share_inputs) for i, model in enumerate(models)]
    opsets: dict[str, int] = {}
    for part in parts:
        for opset in part.opset_import:
            opsets[opset.domain] = max(opset.version, opsets.get(opset.domain, 0))
    graph = helper.make_graph(
        [node for part in parts for node in part.graph.node],
        "predictor",
        list(parts[0].graph.input) if share_inputs else [i for part in parts for i in part.graph.input],
        [output for part in parts for output in part.graph.output],
        [tensor for part in parts for tensor in part.graph.initializer],
    )
    imports = [helper.make_opsetid(domain, number) for domain, number in opsets.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)


def weighted_sum(model: Any, weights: np.ndarray, bias: np.ndarray) -> Any:
    """Replace the M outputs [batch, D] of a model by `z`, their sum with weights [M, D] plus a bias [D]."""
    from onnx import TensorProto, helper, numpy_helper

    graph, terms = model.graph, []
    for i, output in enumerate(graph.output):
        graph.initializer.append(numpy_helper.from_array(weights[i].astype(np.float32), f"weight_{i}"))
        graph.node.append(helper.make_node("Mul", [output.name, f"weight_{i}"], [f"term_{i}"]))
        terms.append(f"term_{i}")
    graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), "bias"))
    graph.node.append(helper.make_node("Sum", [*terms, "bias"], ["z"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", len(bias)]))
    return model


def _standing_in(meta: Any) -> Any:
    """The metadata of an export; where its predictor is of a package that may not be imported, those of ours with
    the same encoder and scale, since the file's graph predicts and the class only encodes."""
    try:
        check_path(meta["predictor"]["class_path"])
    except InputError:
        given = meta["predictor"].get("init_args")
        if isinstance(given, dict) and isinstance(described := given.get("encoder"), dict):
            encoder = class_named(described.get("class_path"), object)
            ours = next((path for kind, path in STANDING_IN.items() if issubclass(encoder, kind)), "")
            kept = {name: given[name] for name in ("metric", "scale", "tolerance", "encoder") if name in given}
            return {**meta, "predictor": {"class_path": ours, "init_args": kept}}
    except (KeyError, TypeError):  # `rebuild` says what is missing
        pass
    return meta


STANDING_IN = {VectorEncoder: "predictors.linear.Linear", GraphEncoder: "predictors.gcn.GCN",
               SparseGraphEncoder: "predictors.sage.SAGE"}  # fmt: skip
"""A predictor for each kind of encoder."""


class OnnxPredictor(CostModel):
    """An exported predictor; needs onnx, onnxruntime and numpy, not torch.

    Args:
        content: of the file.
        where: name of the file, for error messages.
        check: that of `Predictor.load`.

    Raises:
        InputError: the file is truncated, damaged, foreign or edited, or would take too much memory.
    """

    def __init__(self, content: bytes, where: str, check: Check = lambda described: None) -> None:
        import onnx

        intact = digest_matches(content)
        if intact is None:
            raise InputError(
                f"{where} is truncated, or no ONNX file that this version of Gnomon exported: no digest of its content "
                "stands at its end; export it again."
            )
        if not intact:
            raise InputError(f"{where} is damaged, its content does not match its digest; copy or export it again.")
        try:
            model = onnx.load_model_from_string(content)
            (text,) = (entry.value for entry in model.metadata_props if entry.key == "gnomon")
            meta = json.loads(text)
            digest(meta)  # refuses what is nested too deeply, or too large
        except Exception as error:  # protobuf's and onnx's exceptions share no base but Exception
            raise InputError(f"{where} has no description of a predictor; was it edited? Export it again.") from error
        self.meta = meta
        description = rebuild(_standing_in(meta), where)
        if not isinstance(description, Regressor):
            raise InputError(f"{where} describes no predictor that has an ONNX form; was it edited?")
        check(description)
        self._description = description
        self.encode = self._description.encode
        self.metric = self._description.metric
        self.space_ = self._description.space_
        self.devices_ = self._description.devices_
        self._inputs = [i.name for i in model.graph.input]
        try:
            inputs = self.encode(self.space_.sample(2, np.random.default_rng(0)))
            check_graph(model, inputs, self.metric, max(1, len(self.devices_)), description.rows or description.chunk)
            self._session = session(content)
            if np.isnan(self.run(inputs)).any():
                raise ValueError("predictions are no numbers")
        except InputError:
            raise
        except Exception as error:  # likewise those of onnx and onnxruntime
            what = shortened(error, 500)
            raise InputError(f"The graph in {where} does not fit its description ({what}); was it edited?") from error

    @staticmethod
    def load(path: Path, check: Check = lambda described: None) -> OnnxPredictor:
        """Read an exported file, with the `check` of `Predictor.load`; raises `InputError` where it is missing, damaged
        or foreign."""
        path = existing(path, "name a predictor that was exported")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} has {path.stat().st_size:,} bytes, more than the {MOST_BYTES:,} that are read.")
        return OnnxPredictor(path.read_bytes(), str(path), check)

    def run(self, inputs: Inputs) -> np.ndarray:
        """Predictions [A, D] from encoded architectures."""
        return self._session.run(None, {name: inputs[name] for name in self._inputs})[0]

    def predict_all(self, archs: Architectures, chunk: int = 0) -> np.ndarray:
        """Predictions [A, D] on all devices, in the metric's unit."""
        size = chunk or self._description.chunk
        parts = [self.run(self.encode(archs[i : i + size])) for i in range(0, len(archs), size)]
        return np.concatenate(parts) if parts else np.empty((0, max(1, len(self.devices_))))

    def predict(self, archs: Architectures, device: Device | None = None) -> np.ndarray:
        """Predictions [A] on one fitted device, in the metric's unit."""
        return self.predict_all(archs)[:, self._description.column(device)]

    def on(self, device: Device | None, metric: str = "latency_ms") -> Cost:
        """The predictions on one device as a cost."""
        if metric != self.metric:
            raise InputError(f"This predictor predicts {self.metric}, not {metric}.")
        self._description.column(device)
        return lambda archs: self.predict(archs, device)


def session(content: bytes) -> Any:
    """Open an onnxruntime session of a checked, serialised model, on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised as exceptions too
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def load_predictor(path: Path, check: Check = lambda described: None) -> Predictor | OnnxPredictor:
    """Load a saved (`.pt`) or exported (`.onnx`) predictor, with the `check` of `Predictor.load`."""
    return OnnxPredictor.load(path, check) if Path(path).suffix == ".onnx" else Predictor.load(path, check)
