"""Downloads from a server of the tests' own: checksums, resuming, archives, failures."""

from __future__ import annotations

import hashlib
import http.server
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssmbench.errors import UsageError
from ssmbench.tasks.fetch import fetch
from ssmbench.tasks.published import Download

pytest.importorskip("pooch")
CONTENT = bytes(range(256)) * 400


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``files``, from a byte on where that is asked for, and keeps the ranges."""

    files: dict[str, bytes]
    ranges: list[str | None]

    def do_GET(self) -> None:
        content = self.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[type[Server]]:
    handler = type("Handler", (Server,), {"files": {"/x.bin": CONTENT}, "ranges": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        handler.address = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield handler
        running.shutdown()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_downloaded_once(server, tmp_path):
    download = Download(f"{server.address}/x.bin", sha(CONTENT), "set/x.bin")
    for _ in range(2):
        assert fetch(download, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None]


@pytest.mark.parametrize("there", [1000, len(CONTENT)])
def test_an_interrupted_download_goes_on(server, tmp_path, there):
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / "x.bin.part").write_bytes(CONTENT[:there])
    found = fetch(Download(f"{server.address}/x.bin", sha(CONTENT), "x.bin"), tmp_path)
    assert found.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={there}-"]


def test_another_content_is_refused_and_nothing_is_left(server, tmp_path):
    with pytest.raises(UsageError, match=r"x\.bin: cannot be downloaded .*hash"):
        fetch(Download(f"{server.address}/x.bin", sha(b"other"), "x.bin"), tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_missing_file_is_refused(server, tmp_path):
    with pytest.raises(UsageError, match=r"none\.bin: cannot be downloaded .*404"):
        fetch(Download(f"{server.address}/none.bin", "", "x.bin"), tmp_path)


def archive(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as opened:
            opened.writestr("top-1.0/a/b.txt", "content")
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
            info = tarfile.TarInfo("top-1.0/a/b.txt")
            info.size = 7
            opened.addfile(info, io.BytesIO(b"content"))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_unpacked_without_its_only_folder(server, tmp_path, kind):
    server.files[f"/set.{kind}"] = content = archive(kind)
    fetch(Download(f"{server.address}/set.{kind}", sha(content), "set/"), tmp_path)
    assert (tmp_path / "set/a/b.txt").read_text() == "content"
    assert files_below(tmp_path) == ["set/a/b.txt"]


def test_a_damaged_archive_leaves_what_was_there(server, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/old.txt").write_text("old")
    server.files["/set.zip"] = archive("zip")[:-10]
    with pytest.raises(UsageError, match="not an archive"):
        fetch(Download(f"{server.address}/set.zip", "", "set/"), tmp_path)
    assert (tmp_path / "set/old.txt").read_text() == "old"


def files_below(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
