"""Downloads, from a real server on this machine: whole, resumed, damaged, unreachable."""

import functools
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from datasets.public import help as help_data
from datasets.public.fetch import Source, fetch
from datasets.records import InputError
from tests.conftest import run

CONTENT = {"a/one.bin": bytes(range(256)) * 1000, "two.txt": b"two", "Tesla P4.csv": b"three"}


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, understands `Range: bytes=N-`, and writes down what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.asked.append(f"{self.path.split('/')[-1]}@{start}")
        path = Path(self.directory + unquote(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "upstream" / "me" / "repo" / "c0ffee"
    for name, content in CONTENT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    Handler.asked = []
    handler = functools.partial(Handler, directory=str(tmp_path / "upstream"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("GNOMON_DATA", str(tmp_path / "data"))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    return Source("toy", "me/repo", "c0ffee", "MIT", digests)


def test_files_come_whole_and_only_once(server: str, source: Source) -> None:
    for path, content in zip(fetch(source, server, log=lambda _: None), CONTENT.values(), strict=True):
        assert path.read_bytes() == content
    assert source.present() == list(CONTENT)
    fetch(source, server, log=lambda _: None)
    assert Handler.asked == ["one.bin@0", "two.txt@0", "Tesla%20P4.csv@0"]


def test_a_cut_off_download_goes_on_where_it_stopped(server: str, source: Source) -> None:
    part = source.path("a/one.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT["a/one.bin"][:1234])
    fetch(source, server, log=lambda _: None)
    assert source.path("a/one.bin").read_bytes() == CONTENT["a/one.bin"]
    assert Handler.asked[0] == "one.bin@1234" and not part.exists()


def test_a_whole_part_is_taken_as_it_is(server: str, source: Source) -> None:
    part = source.path("a/one.bin.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT["a/one.bin"])
    fetch(source, server, log=lambda _: None)
    assert source.path("a/one.bin").read_bytes() == CONTENT["a/one.bin"]


def test_a_damaged_file_is_fetched_again(server: str, source: Source) -> None:
    fetch(source, server, log=lambda _: None)
    source.path("two.txt").write_bytes(b"tow")
    fetch(source, server, log=lambda _: None)
    assert source.path("two.txt").read_bytes() == b"two"


def test_what_is_not_the_pinned_file_is_refused(server: str, source: Source, tmp_path: Path) -> None:
    (tmp_path / "upstream" / "me" / "repo" / "c0ffee" / "two.txt").write_bytes(b"changed upstream")
    with pytest.raises(InputError, match="did not send the pinned file"):
        fetch(source, server, log=lambda _: None)
    assert not source.path("two.txt").exists() and not source.path("two.txt.part").exists()


def test_a_missing_file_and_a_dead_server_are_one_sentence(server: str, source: Source, tmp_path: Path) -> None:
    (tmp_path / "upstream" / "me" / "repo" / "c0ffee" / "two.txt").unlink()
    with pytest.raises(InputError, match="answers 404"):
        fetch(source, server, log=lambda _: None)
    with pytest.raises(InputError, match="Cannot reach"):
        fetch(source, "http://127.0.0.1:9", log=lambda _: None)


def test_the_command(server: str, tmp_path: Path) -> None:
    environment = {"GNOMON_DATA": str(tmp_path / "empty")}
    done = run("-m", "datasets", "fetch", "help", "--mirror", server, env=environment)
    assert done.returncode == 2 and "answers 404" in done.stderr and "Traceback" not in done.stderr
    done = run("-m", "datasets", "fetch", "hepl", env=environment)
    assert done.returncode == 2 and "There is no source 'hepl'; known are" in done.stderr


def test_sources_are_pinned() -> None:
    source = help_data.SOURCE
    assert len(source.commit) == 40 and len(source.files) == 3 + 23 + 23 + 9
    assert all(len(digest) == 64 for digest in source.files.values())


def test_mirrors_that_are_no_servers_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNOMON_DATA", str(tmp_path))
    source = Source("mine", "me/repo", "c0ffee", "MIT", {"two.txt": "0"})
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"this is no answer\r\n\r\n")

        threading.Thread(target=babble, daemon=True).start()
        for mirror in ("no address", "http://[", f"http://127.0.0.1:{server.getsockname()[1]}"):
            with pytest.raises(InputError, match="Cannot reach"):
                fetch(source, mirror, lambda line: None)
