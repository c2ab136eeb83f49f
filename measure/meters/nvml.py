"""NVML: energy of NVIDIA GPUs, through the library that comes with the driver."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from measure.power import Meter, Unmetered

NOT_SUPPORTED = 3  # NVML_ERROR_NOT_SUPPORTED


@dataclass
class Nvml(Meter):
    """The sum over all GPUs of this host, memory included: NVML's order of them is not CUDA's, and GPUs at rest cancel.

    Boards since Volta count their energy in mJ, and the counter changes every 20 to 100 ms. If a board does not, the
    power of all boards is read, which since Ampere is a mean over the last second, so settling takes longer. On A100
    and H100 the sensor covers a quarter of the time (Yang, Adamek and Armour, "Accurate and Convenient Energy
    Measurements for GPUs", SC 2024); many runs that are much shorter than a tenth of a second average that out.

    Five functions of the library are called by ctypes, which needs no package.

    Attributes:
        driver: file name of the library.
        interval: seconds between two readings.
    """

    driver: str = "libnvidia-ml.so.1"
    interval: float = 0.02

    name = "NVML"
    scope = "GPUs"
    kinds: ClassVar[tuple[str, ...]] = ("gpu",)

    @cached_property
    def _nvml(self) -> ctypes.CDLL:
        try:
            nvml = ctypes.CDLL(self.driver)
        except OSError as error:
            raise Unmetered(f"{self.driver}, which NVIDIA's driver brings, cannot be loaded") from error
        nvml.nvmlErrorString.restype = ctypes.c_char_p
        return nvml

    def _call(self, function: str, *arguments: object, may_lack: bool = False) -> bool:
        """Call a function of the library; returns whether it is supported, and raises `Unmetered` for failures."""
        symbol = getattr(self._nvml, function, None)  # missing in old drivers
        code = symbol(*arguments) if symbol else NOT_SUPPORTED
        if code and not (may_lack and code == NOT_SUPPORTED):
            raise Unmetered(f"{function} of {self.driver} reports '{self._nvml.nvmlErrorString(code).decode()}'")
        return code == 0

    @cached_property
    def boards(self) -> list[ctypes.c_void_p]:
        """Handles of all GPUs; the library stays initialised for as long as this process lives."""
        self._call("nvmlInit_v2")
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        if not count.value:
            raise Unmetered("NVIDIA's driver finds no GPU")
        boards = [ctypes.c_void_p() for _ in range(count.value)]
        for index, board in enumerate(boards):
            self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(board))
        return boards

    @cached_property
    def counts(self) -> bool:
        """Whether every GPU counts its energy."""
        energy = ctypes.c_ulonglong()
        return all(
            [
                self._call("nvmlDeviceGetTotalEnergyConsumption", board, ctypes.byref(energy), may_lack=True)
                for board in self.boards
            ]
        )

    @property
    def settle(self) -> float:
        return 0.2 if self.counts else 1.2

    @contextmanager
    def open(self) -> Iterator[Callable[[], float]]:
        function = "nvmlDeviceGetTotalEnergyConsumption" if self.counts else "nvmlDeviceGetPowerUsage"
        number = ctypes.c_ulonglong if self.counts else ctypes.c_uint

        def read() -> float:
            values = [number() for _ in self.boards]
            for board, value in zip(self.boards, values, strict=True):
                self._call(function, board, ctypes.byref(value))
            return sum(value.value for value in values) / 1000  # millijoules or milliwatts

        yield read
