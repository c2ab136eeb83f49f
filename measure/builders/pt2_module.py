"""A program of torch.export (.pt2) as a torch module, without torch's own loader, which would run code.

`torch.export.load` evaluates expressions in the file, resolves any name in torch and unpickles. Here the JSON of the
graph is read with Gnomon's own checks (`datasets.networks.pt2_file`), calls may only be operators of `aten` or
arithmetic, and weights are bytes, or pickles of nothing but tensors (`weights_only=True`).
"""

from __future__ import annotations

import io
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from datasets.files.reading import shortened
from datasets.files.zip_entry import UNREADABLE
from datasets.networks.pt2_archive import DAMAGED, read_config, read_graph, read_stored
from datasets.records import InputError

_TYPES = {1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
          7: torch.float32, 8: torch.float64, 9: torch.complex32, 10: torch.complex64, 11: torch.complex128,
          12: torch.bool, 13: torch.bfloat16, 28: torch.uint16}  # fmt: skip
_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format}
_CHECKS = ("_assert", "sym_constrain")  # beginnings of operators that compute nothing
_FORBIDDEN = ("from_file",)  # opens any file
_ARITHMETIC = ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow", "eq", "ne", "lt", "le", "gt", "ge",
               "getitem", "and_", "or_", "not_")  # fmt: skip
_SYMBOLS = ("sym_float", "sym_int", "sym_max", "sym_min", "sym_not", "sym_ite", "sym_sum")
_NAMED = ("as_tensor", "as_sym_int", "as_sym_float", "as_sym_bool", "as_optional_tensor")


def load_pt2(path: Path, shapes: Sequence[tuple[int, ...]] = ()) -> tuple[torch.fx.GraphModule, list[torch.Tensor]]:
    """The module in a file, and tensors of zeros for its inputs.

    Args:
        path: the file, which `datasets.networks.pt2_file.read_pt2` accepts.
        shapes: of all inputs; by default those of the example with which it was exported.

    Raises:
        InputError: the file is damaged, calls something else than torch's own operators, or its weights would run code.
    """
    try:
        document = read_graph(path)["graph_module"]
        reader = _Reader(path)
        module = reader.module(document)
        module.eval()
    except (*DAMAGED, *UNREADABLE, RuntimeError) as error:
        why = shortened(f"{type(error).__name__}: {error}", 100)
        raise InputError(f"The program in {path} cannot be loaded ({why}); export the module again.") from error
    metas = [document["graph"]["tensor_values"][name] for name in reader.inputs]
    sizes = shapes or [tuple(_size(size) for size in meta["sizes"]) for meta in metas]
    zeros = [torch.zeros(s, dtype=_TYPES[meta["dtype"]]) for s, meta in zip(sizes, metas, strict=True)]
    return module, zeros


@dataclass
class _Reader:
    """Turns the JSON of a graph into an `fx.Graph`; nodes are named here, not by the file."""

    path: Path
    graph: torch.fx.Graph = field(default_factory=torch.fx.Graph)
    root: torch.nn.Module = field(default_factory=torch.nn.Module)
    inputs: list[str] = field(default_factory=list)

    def module(self, document: Mapping[str, Any]) -> torch.fx.GraphModule:
        """The module of a document's graph."""
        values = dict[str, Any]()
        stored = dict(self._weights())
        for number, spec in enumerate(document["signature"]["input_specs"]):
            ((kind, content),) = spec.items()
            name, value = _named(content.get("arg"))
            if kind == "user_input" and value is None:
                self.inputs.append(name)
                values[name] = self.graph.placeholder(f"x{len(self.inputs)}")
            elif kind in ("user_input", "constant_input"):
                values[content.get("name", name)] = value
            elif kind in ("parameter", "buffer", "tensor_constant"):
                self.root.register_buffer(f"w{number}", stored[content[f"{kind}_name"]])
                values[name] = self.graph.get_attr(f"w{number}")
            else:
                raise InputError(f"{self.path} needs a {kind.replace('_', ' ')}, which is not loaded; export it again.")
        self._calls(document["graph"], values)
        users = [spec["user_output"]["arg"] for spec in document["signature"]["output_specs"] if "user_output" in spec]
        self.graph.output(tuple(values[_named(arg)[0]] for arg in users if "as_tensor" in arg))
        return torch.fx.GraphModule(self.root, self.graph)

    def _calls(self, graph: Mapping[str, Any], values: dict[str, Any]) -> list[Any]:
        """Add the calls of a graph, and return its outputs."""
        for node in graph["nodes"]:
            target = str(node["target"])
            if target.startswith("torch.ops.higher_order.wrap_"):
                self._inline(node, values)
                continue
            call = _operator(target, self.path)
            if call is None:
                continue
            args = [_argument(value["arg"], values) for value in node["inputs"] if value.get("kind") != 2]
            named = {v["name"]: _argument(v["arg"], values) for v in node["inputs"] if v.get("kind") == 2}
            self._outputs(node["outputs"], self.graph.call_function(call, tuple(args), named), values)
        return [values[name] for output in graph["outputs"] for name in _names(output)]

    def _inline(self, node: Mapping[str, Any], values: dict[str, Any]) -> None:
        """Add the calls of a graph within the graph."""
        (inner,) = (value["arg"]["as_graph"]["graph"] for value in node["inputs"] if "as_graph" in value["arg"])
        given = [name for value in node["inputs"] if "as_graph" not in value["arg"] for name in _names(value["arg"])]
        held = [name for value in inner["inputs"] for name in _names(value)]
        own = {name: values[outer] for name, outer in zip(held, given, strict=True)}
        ends = self._calls(inner, own)
        names = [name for output in node["outputs"] for name in _names(output)]
        values.update(zip(names, ends, strict=True))

    def _outputs(self, outputs: Sequence[Any], made: torch.fx.Node, values: dict[str, Any]) -> None:
        """Give the outputs of a call their names."""
        names = [list(_names(output)) for output in outputs]
        if len(outputs) == 1 and next(iter(outputs[0])) in _NAMED:
            values.update({name: made for name in names[0]})
            return
        flat = names[0] if len(outputs) == 1 else [group[0] if group else "" for group in names]
        for place, name in enumerate(flat):
            if name:
                values[name] = self.graph.call_function(operator.getitem, (made, place))

    def _weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """All stored tensors by their names in the module."""
        payloads = dict[str, bytes]()
        for kind in ("weights", "constants"):
            for name, entry in read_config(self.path, kind).items():
                file = str(entry["path_name"])
                if file not in payloads:
                    payloads[file] = read_stored(self.path, kind, f"/{file}")
                yield name, self._tensor(name, payloads[file], entry)

    def _tensor(self, name: str, content: bytes, entry: Mapping[str, Any]) -> torch.Tensor:
        if entry["use_pickle"]:
            try:
                value = torch.load(io.BytesIO(content), weights_only=True)
            except Exception as error:  # torch's reader of pickles raises of all kinds
                raise InputError(
                    f"'{shortened(name, 60)}' in {self.path} is a pickle that may run code, which is never loaded; "
                    "save the module with plain tensors."
                ) from error
            if not isinstance(value, torch.Tensor):
                raise ValueError(f"{name} is no tensor")
            return value.detach()
        meta = entry["tensor_meta"]
        sizes, strides = ([_size(size) for size in meta[key]] for key in ("sizes", "strides"))
        if not content:
            return torch.zeros(sizes, dtype=_TYPES[meta["dtype"]])
        flat = torch.frombuffer(bytearray(content), dtype=_TYPES[meta["dtype"]])
        return flat.as_strided(sizes, strides, _size(meta["storage_offset"]))


def _operator(target: str, path: Path) -> Callable[..., Any] | None:
    """The operator of a call; None for checks, which compute nothing."""
    if match := re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target):
        name, overload = match.groups()
        if name.startswith(_CHECKS):
            return None
        if name not in _FORBIDDEN and hasattr(torch.ops.aten, name):
            found: Callable[..., Any] = getattr(getattr(torch.ops.aten, name), overload)
            return found
    if (match := re.fullmatch(r"_operator\.(\w+)", target)) and match[1] in _ARITHMETIC:
        return getattr(operator, match[1])
    if (match := re.fullmatch(r"torch\.(?:_C\._)?(sym_\w+)", target)) and match[1] in _SYMBOLS:
        return getattr(torch, match[1])
    raise InputError(
        f"{path} calls {shortened(target, 60)}, and of .pt2 files only torch's own operators are run; export the "
        "module with them, or to ONNX."
    )


def _names(value: Mapping[str, Any]) -> Iterator[str]:
    """Names of the values in an input or output."""
    ((kind, content),) = value.items()
    if kind == "as_optional_tensor":
        yield from _names(content)
    elif kind in _NAMED:
        if name := content.get("name", content.get("as_name")):
            yield name
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, Mapping):
                yield part["name"] if "name" in part else next(_names(part), "")


def _named(arg: Any) -> tuple[str, Any]:
    """The name of a graph's input, or the value of one that is no tensor."""
    if isinstance(arg, Mapping) and "name" in arg:
        return str(arg["name"]), None
    if isinstance(arg, Mapping) and "as_tensor" in arg:
        return str(arg["as_tensor"]["name"]), None
    return "", _argument(arg, {}) if isinstance(arg, Mapping) and arg else None


def _argument(value: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """An argument of a call."""
    ((kind, content),) = value.items()
    if kind in ("as_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"):
        return _one(content, values)
    if kind == "as_optional_tensor":
        return _argument(content, values)
    if kind == "as_none":
        return None
    if kind in ("as_int", "as_float", "as_bool", "as_string", "as_ints", "as_floats", "as_bools", "as_strings",
                "as_int_lists", "as_float_lists"):  # fmt: skip
        return content
    if kind in ("as_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [_one(part, values) for part in content]
    if kind == "as_optional_tensors":
        return [_argument(part, values) for part in content]
    if kind == "as_scalar_type":
        return _TYPES[content]
    if kind == "as_memory_format":
        return _FORMATS[content]
    if kind == "as_layout":
        return {7: torch.strided}[content]
    if kind == "as_device":
        return torch.device("cpu")
    if kind == "as_complex":
        return complex(content["real"], content["imag"])
    raise ValueError(f"an argument of the kind {kind}")


def _one(content: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """A value by its name, or a number that stands in its place."""
    name = content.get("name", content.get("as_name"))
    return values[name] if name is not None else next(iter(content.values()))


def _size(size: Mapping[str, Any]) -> int:
    number = size["as_int"] if "as_int" in size else size["as_expr"]["hint"]["as_int"]
    if type(number) is not int or number < 0:
        raise ValueError("a size is no whole number")
    return number
