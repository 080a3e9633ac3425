"""Downloads of published data, by pooch."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from ssmbench.errors import UsageError, one_line
from ssmbench.tasks.digest import file_digest
from ssmbench.tasks.published import Download

_CHUNK = 2**20  # bytes
_TIMEOUT = 30.0  # seconds without an answer
_PARTIAL, _RANGE_NOT_SATISFIABLE = 206, 416


def fetch(download: Download, folder: Path) -> Path:
    """Download one file into ``folder``; an archive is unpacked into a folder of its own.

    An interrupted download goes on where it stopped, if the server allows it. The file is checked
    before it takes its place, so a failure leaves nothing that would be taken for the data.

    Raises:
        UsageError: pooch is not installed, the download failed, or its checksum is another.
    """
    target = folder / download.to
    if target.is_file() and download.sha256 and file_digest(target) == download.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = folder / ".downloads" / _name(download)
    _download(download, part)
    if download.to.endswith("/"):
        _unpack(part, target)
        part.unlink()
    else:
        part.replace(target)
    return target


def _name(download: Download) -> str:
    return download.url.rpartition("/")[2]


def _download(download: Download, file: Path) -> None:
    pooch = _pooch()
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        pooch.retrieve(
            download.url,
            known_hash=f"sha256:{download.sha256}" if download.sha256 else None,
            fname=file.name,
            path=file.parent,
            downloader=Resuming(file.with_name(f"{file.name}.part")),
        )
    except Exception as error:  # of many types: requests', urllib3's, pooch's ValueError
        raise UsageError(f"{download.url}: cannot be downloaded ({one_line(error)})") from None


class Resuming:
    """Downloads over HTTP into ``part``, from where an earlier download into it stopped."""

    def __init__(self, part: Path):
        self.part = part

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """As pooch calls a downloader. Raises what requests raises."""
        import requests

        size = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Range": f"bytes={size}-"} if size else {}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            complete = size > 0 and response.status_code == _RANGE_NOT_SATISFIABLE
            if not complete:
                response.raise_for_status()
                self._write(response, size if response.status_code == _PARTIAL else 0)
        self.part.replace(output_file)

    def _write(self, response: Any, done: int) -> None:
        given = response.headers.get("content-length")
        total = done + int(given) if given else None
        columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
        console = Console(stderr=True)
        with Progress(*columns, console=console) as bar, self.part.open("ab") as file:
            file.truncate(done)
            task = bar.add_task(self.part.stem, total=total, completed=done)
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))


def _pooch() -> Any:
    try:
        import pooch
    except ImportError:
        raise UsageError("downloads need the package pooch: pip install 'ssmbench[data]'") from None
    pooch.get_logger().setLevel("WARNING")
    return pooch


def _unpack(archive: Path, target: Path) -> None:
    """Unpack into a new folder, which takes the place of ``target`` when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _extract(archive, fresh)
        inner = list(fresh.iterdir())
        content = inner[0] if len(inner) == 1 and inner[0].is_dir() else fresh
        shutil.rmtree(target, ignore_errors=True)
        content.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _extract(archive: Path, folder: Path) -> None:
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(folder)
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(folder, filter="data")
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UsageError(f"{archive}: not an archive that can be unpacked ({error})") from None
