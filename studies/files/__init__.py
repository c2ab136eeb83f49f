"""Files as people ship them: every network in the wheels of 33 packages, sixty networks of torchvision, timm and
transformers by three readers, their peak memory on three runtimes, damaged files, and how often bounds of percentiles
hold. An hour on an idle core; downloads 550 MB, and all parts but the first need torchvision, timm and transformers in
the environment."""

from pathlib import Path

from studies.study import Study

STUDY = Study(
    steps=(
        "-m studies.files.study",
        "-m tests.fuzz --family 'onnx network,keras network,tflite file' --seed 1 --cases 800 --cpu-seconds 2 "
        "--summary runs/files/fuzz.json",
        "-m studies.files.study --part summary",
    ),
    folder=Path("runs/files"),
)
