"""An adb server with one made-up phone behind it, for the real `adb` client.

It speaks what `adb devices`, `shell`, `push` and `pull` need (AOSP, adb/SERVICES.TXT, SYNC.TXT and shell_protocol.h).
The phone's commands are executed by this host's shell, with /data/local/tmp in a folder of the test's; `getprop` and
`dumpsys` are scripts, and benchmark_model is tests/doubles/benchmark_model.py, which really runs the file that was
pushed.
"""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

TMP = "/data/local/tmp"
TOOLS = {
    "getprop": 'case $1 in *manufacturer) echo Made-up;; *model) echo "Phone 1";; *abi) echo arm64-v8a;; '
    "*release) echo 14;; *sdk) echo 34;; esac",
    "dumpsys": "case $1 in battery) echo '  temperature: 291';; *) echo 'Thermal Status: 0';; esac",
}


class AdbServer:
    """Used as a context.

    Attributes:
        states: of the devices, by serial.
        shell_v2: whether the phone reports exit statuses, as Android 7 and later do.
        dies_at: part of a shell command in the middle of which the phone goes away (empty: never).
        commands: the commands that the phone received.
    """

    def __init__(self, folder: Path) -> None:
        self.states = {"phone-1": "device"}
        self.shell_v2 = True
        self.dies_at = ""
        self.commands: list[str] = []
        self.root, self.tools = folder / "tmp", folder / "bin"
        self.root.mkdir()
        self.tools.mkdir()
        for name, script in TOOLS.items():
            self._program(self.tools / name, f"#!/bin/sh\n{script}\n")
        program = Path(__file__).with_name("benchmark_model.py")
        self._program(self.root / "benchmark_model", f'#!/bin/sh\nexec {sys.executable} {program} "$0" "$@"\n')
        version = subprocess.run([shutil.which("adb"), "version"], capture_output=True, text=True, check=True).stdout
        self.version = int(re.search(r"version 1\.0\.(\d+)", version)[1])
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def script(self, **faults: object) -> None:
        """What benchmark_model is to do from now on: see tests/doubles/benchmark_model.py."""
        (self.root / "script.json").write_text(json.dumps(faults))

    def left(self) -> list[str]:
        """What lies on the phone besides the program."""
        return sorted({path.name for path in self.root.iterdir()} - {"benchmark_model", "script.json"})

    def __enter__(self) -> "AdbServer":
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _program(self, path: Path, content: str) -> None:
        path.write_text(content)
        path.chmod(0o755)

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            try:
                while length := stream.read(4):
                    if not self._request(stream, stream.read(int(length, 16)).decode()):
                        return
            except (ConnectionError, ValueError):
                return

    def _request(self, stream, request: str) -> bool:
        """Answer one request; whether another may follow on this connection."""
        if request == "host:version":
            _answer(stream, f"{self.version:04x}")
        elif request.startswith("host:devices"):
            _answer(stream, "".join(f"{serial}\t{state}\n" for serial, state in self.states.items()))
        elif request.endswith(":features") or request == "host:features":
            _answer(stream, "cmd,shell_v2" if self.shell_v2 else "cmd")
        elif request.startswith(("host:tport:", "host:transport")):
            if why := self._unusable(request):
                _tell(stream, b"FAIL" + f"{len(why):04x}{why}".encode())
                return False
            _tell(stream, b"OKAY" + (struct.pack("<Q", 1) if "tport" in request else b""))
            return True
        elif request.startswith("shell"):
            _tell(stream, b"OKAY")
            self._shell(stream, request.partition(":")[2], ",v2" in request.partition(":")[0])
        elif request == "sync:":
            _tell(stream, b"OKAY")
            while self._sync(stream):
                pass
        else:
            why = f"unknown host service '{request}'"
            _tell(stream, b"FAIL" + f"{len(why):04x}{why}".encode())
        return False

    def _unusable(self, request: str) -> str:
        named = re.search(r"(?:serial|transport):(?!any)([\w-]+)$", request)
        if named and named[1] not in self.states:
            return f"device '{named[1]}' not found"
        if not named and len(self.states) != 1:
            return "more than one device/emulator" if self.states else "no devices/emulators found"
        state = self.states[named[1] if named else next(iter(self.states))]
        return "" if state == "device" else f"device {state}"

    def _shell(self, stream, command: str, v2: bool) -> None:
        self.commands.append(command)
        here = re.sub(rf"{TMP}(?=/)", str(self.root), command)
        environment = {**os.environ, "PATH": f"{self.tools}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", here], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
        output = done.stdout.replace(str(self.root).encode(), TMP.encode())
        dies = bool(self.dies_at) and self.dies_at in command
        if dies:
            output = output[: len(output) // 2]
            self.states = {}
        if not v2:
            _tell(stream, output.replace(b"\n", b"\r\n"))
            return
        _tell(stream, struct.pack("<BI", 1, len(output)) + output)
        if not dies:
            _tell(stream, struct.pack("<BIB", 3, 1, done.returncode & 255))

    def _sync(self, stream) -> bool:
        """One request of the file protocol; whether another may follow."""
        verb, length = struct.unpack("<4sI", stream.read(8))
        name, path = stream.read(length).decode(), Path()
        if verb in (b"STAT", b"SEND", b"RECV"):
            path = self.root / Path(name.rpartition(",")[0] if verb == b"SEND" else name).relative_to(TMP)
        if verb == b"STAT":
            status = path.stat() if path.exists() else None
            _tell(
                stream, b"STAT" + struct.pack("<III", *((status.st_mode, status.st_size, 1) if status else (0, 0, 0)))
            )
        elif verb == b"SEND":
            with path.open("wb") as file:
                while (chunk := struct.unpack("<4sI", stream.read(8)))[0] == b"DATA":
                    file.write(stream.read(chunk[1]))
            _tell(stream, b"OKAY" + struct.pack("<I", 0))
        elif verb == b"RECV":
            content = path.read_bytes()
            for start in range(0, len(content), 1 << 16):
                chunk = content[start : start + (1 << 16)]
                _tell(stream, b"DATA" + struct.pack("<I", len(chunk)) + chunk)
            _tell(stream, b"DONE" + struct.pack("<I", 0))
        return verb in (b"STAT", b"SEND", b"RECV")


def _answer(stream, text: str) -> None:
    _tell(stream, b"OKAY" + f"{len(text):04x}{text}".encode())


def _tell(stream, content: bytes) -> None:
    stream.write(content)
    stream.flush()
