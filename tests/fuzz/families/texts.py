"""Texts of users: architectures, spaces, files of architectures."""

from pathlib import Path
from random import Random

from tests.fuzz import inputs
from tests.fuzz.family import Command, Family, Files, any_of, one_file
from tests.fuzz.mutations import WORDS, any_damage, change_text

SPACES = (
    "nasbench201(cells=1,channels=16)", "nasbench101(channels=16,cells=1)", "fbnet(image=64,classes=10)",
    "ofa(classes=10)",
    "convnet(image=32,classes=10,megamacs=60)", "small_zoo(classes=10)", "convolution(megabytes=1,megamacs=4)",
    "pooling(megabytes=1,megamacs=4)", "dense(megabytes=1,megamacs=4)", "tf_convolution", "tf_dense",
    "built(builder=datasets.spaces.built.example,input=3x8x8,depth=1|2,width=8,kernel=1)",
    "columns(act=relu|silu,macs=0..9)",
)  # fmt: skip


def change_word(content: bytes, rng: Random) -> bytes:
    """An architecture or a space, spelt otherwise."""
    text = content.decode()
    for _ in range(rng.choice((1, 1, 2, 4))):
        i, j = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
        word = rng.choice(
            (*WORDS, "0", "-1", "99999999999999999999", "1e9", "|", "~", "_", "(", ")", "=", ",", "nan", "١", "\udcff")
        )
        kind = rng.randrange(6)
        text = (
            text[:i] + word + text[i:], text[:i] + text[i + 1 :], text[:i] + text[j:], text[:i] + word + text[j:],
            text[:j] + text[i:], text[:i] + text[i : i + 1].swapcase() + text[i + 1 :],
        )[kind]  # fmt: skip
    return text.replace("\0", "").encode(errors="surrogateescape")  # a command line holds no zero


def _spaces(folder: Path) -> list[Files]:
    """Spaces, and architectures of them where what is built of them is small."""
    import numpy as np

    from datasets.spaces import parse_space

    found: list[Files] = [{"space": text.encode(), "arch": b"x", "archs.txt": b"x"} for text in ("__init__", "layers")]
    for text in SPACES:
        archs = parse_space(text).sample(3, np.random.default_rng(0))
        found += [
            {"space": text.encode(), "arch": key.encode(), "archs.txt": "\n".join(archs.keys).encode()}
            for key in archs.keys
        ]
    return found


def _use_space(case: Path, beside: Path, rng: Random) -> Command:
    """A runtime that is not here is refused only after the texts were read, so nothing is measured."""
    if rng.random() < 0.2:
        return [
            "measure",
            "build",
            "--space",
            "@space",
            "--arch",
            "@arch",
            "--backend",
            rng.choice(("ort", "litert")),
            "--out",
            "b",
        ]
    if rng.random() < 0.2:
        return ["datasets", "show", "@space:@arch"]
    what = rng.choice((["--limit", rng.choice(("2", "0", "-1", "1e9"))], ["--archs", str(case / "archs.txt")]))
    return [
        "measure",
        "run",
        "--space",
        "@space",
        "--backend",
        "tensorrt",
        *what,
        "--journal",
        "j.jsonl",
        *rng.choice(([], [], ["--layers", "true"], ["--subjects.block", "true"])),
    ]


def _edit_space(files: Files, rng: Random) -> Files:
    name = rng.choice(("space", "arch", "archs.txt"))
    return {**files, name: (change_text if name == "archs.txt" else change_word)(files[name], rng)}


def _keys(folder: Path) -> list[Files]:
    for name in ("linear", "gcn"):
        inputs.predictor(folder, name)
    inputs.exported(folder, "gcn")
    return [{"arch": key.encode()} for key in inputs.keys(3)]


def _ask(case: Path, beside: Path, rng: Random) -> Command:
    file = rng.choice(("linear.pt", "gcn.pt", "gcn.onnx"))
    return [
        "predictors",
        "predict",
        str(beside / file),
        "--device",
        inputs.DEVICE,
        rng.choice(("--arch=@arch", "--arch=@arch", "--device=@arch")),
    ]


def _lists(folder: Path) -> list[Files]:
    for name in ("linear", "conditioned"):
        inputs.predictor(folder, name)
    return [{"archs.txt": "\n".join(inputs.keys(20)).encode()}]


def _use_list(case: Path, beside: Path, rng: Random) -> Command:
    file = str(case / "archs.txt")
    commands: list[Command] = [
        ["predictors", "predict", str(beside / "linear.pt"), "--device", inputs.DEVICE, "--archs", file],
        [
            "predictors",
            "choose",
            str(beside / "conditioned.pt"),
            "--archs",
            file,
            "--n",
            rng.choice(("3", "0", "-1", "1000")),
        ],
        ["measure", "run", "--archs", file, "--backend", "tensorrt", "--journal", "j.jsonl"],
    ]
    return rng.choice(commands)


FAMILIES = (
    Family("space", _spaces, _edit_space, _use_space),
    Family("architecture", _keys, one_file(change_word), _ask),
    Family("archs file", _lists, one_file(any_of(change_text, any_damage)), _use_list),
)
