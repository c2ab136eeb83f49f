"""The Android debug bridge: the commands needed to measure on a phone, by the real `adb` client.

Device and server are chosen by the client's environment (ANDROID_SERIAL, ANDROID_ADB_SERVER_PORT, ...). If no server
runs, the client would start one that outlives the command; since `doctor` should not change a host, starting a server
is left to the user.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER = "/data/local/tmp/gnomon"
"""Folder of temporary files on the device; only one campaign at a time runs on a device."""


class AdbError(RuntimeError):
    """A failure of the connection to the device, in one sentence."""


@dataclass(frozen=True)
class Ran:
    """The output of a command on the device, with standard error, and its exit status."""

    output: str
    code: int


def problem() -> str:
    """Why no device can be used, as the end of a sentence; empty if one can."""
    if shutil.which("adb") is None:
        return "adb is not installed; it is part of Android's platform tools (apt install adb)"
    if not _server_runs():
        return "no adb server is running; connect a device and run `adb start-server`"
    try:
        states = devices()
    except AdbError as error:
        return str(error)
    chosen = os.environ.get("ANDROID_SERIAL")
    if not states:
        return "no Android device is connected; connect one and allow USB debugging on it"
    if chosen and chosen not in states:
        return f"no device {chosen} is connected; set ANDROID_SERIAL to one of {', '.join(states)}"
    if not chosen and len(states) > 1:
        return f"several devices are connected; set ANDROID_SERIAL to one of {', '.join(states)}"
    serial = chosen or next(iter(states))
    if states[serial] == "unauthorized":
        return f"device {serial} does not trust this computer yet; unlock it and allow USB debugging"
    return "" if states[serial] == "device" else f"device {serial} is {states[serial]}; connect it anew"


def devices() -> dict[str, str]:
    """The state of every connected device by its serial number: `device` if it can be used, else `offline` etc."""
    lines = [line.partition("\t") for line in _adb("devices").splitlines() if "\t" in line]
    return {serial: state.strip() for serial, _, state in lines}


def shell(command: str, timeout: float = 20.0) -> Ran:
    """Run a command on the device.

    Android before 7 reports no exit status, so the device's shell appends it to the output. If it is missing, the
    connection was interrupted.

    Raises:
        AdbError: there is no connection, it was interrupted, or `timeout` seconds passed.
    """
    text = _adb("shell", f"({command}) 2>&1; echo {_STATUS}$?", timeout=timeout).replace("\r\n", "\n")
    output, mark, code = text.rpartition(_STATUS)
    if not (mark and code.strip().isdigit()):
        raise AdbError("the device went away in the middle of a command; connect it anew")
    return Ran(output, int(code))


_STATUS = "gnomon-status="


@contextmanager
def pushed(files: Mapping[str, bytes]) -> Iterator[str]:
    """A temporary folder on the device with the given files; files of an earlier, killed campaign are removed too."""
    _made(f"rm -rf {FOLDER} && mkdir -p {FOLDER}")
    try:
        with tempfile.TemporaryDirectory() as here:
            paths = [Path(here) / name for name in files]
            for path, content in zip(paths, files.values(), strict=True):
                path.write_bytes(content)
            _adb("push", *map(str, paths), FOLDER, timeout=300)
        yield FOLDER
    finally:
        with suppress(AdbError):  # an exception that is being raised has precedence
            shell(f"rm -rf {FOLDER}")


def pulled(path: str) -> bytes:
    """The content of a file on the device."""
    with tempfile.TemporaryDirectory() as here:
        copy = Path(here) / "file"
        _adb("pull", path, str(copy), timeout=300)
        return copy.read_bytes()


def _made(command: str) -> None:
    if (ran := shell(command)).code:
        raise AdbError(f"the device refuses `{command}`: {_last_line(ran.output)}")


def _adb(*arguments: str, timeout: float = 20.0) -> str:
    """The output of the client. A failure of a shell command is not an error here, but reported by `shell`."""
    if not _server_runs():
        raise AdbError("no adb server is running; connect a device and run `adb start-server`")
    try:
        done = subprocess.run(
            ["adb", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise AdbError(f"`adb {arguments[0]}` was not done within {timeout:g} s") from error
    output, errors = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    if done.returncode and _STATUS not in output:
        why = _last_line(errors) or _last_line(output) or "it gives no reason"
        raise AdbError(f"`adb {arguments[0]}` failed: {why}")
    return output


def _server_runs() -> bool:
    """Whether a server listens at the address that the client uses."""
    if "ADB_SERVER_SOCKET" in os.environ:
        return True  # a socket chosen by the user, which need not be a port
    port = os.environ.get("ANDROID_ADB_SERVER_PORT", "5037")
    if not port.isdigit():
        return False
    try:
        socket.create_connection((os.environ.get("ANDROID_ADB_SERVER_ADDRESS", "localhost"), int(port)), 2).close()
    except (OSError, OverflowError):
        return False
    return True


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ").removeprefix("adb: ").removeprefix("error: ") if lines else ""
