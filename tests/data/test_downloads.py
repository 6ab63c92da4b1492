"""Files that are fetched: whole and checked, or not at all. A server on this machine stands for the world."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recdl.data.downloads import fetch_missing
from recdl.data.inputs import Download
from recdl.data.preparation import prepare
from recdl.data.sources import CsvLog, Time
from recdl.errors import ConfigError, DataError
from tests.data.files import HEADER, events

pytest.importorskip("pooch", reason="pip install 'recdl[download]'")
GOOD = b"what was published"
SHA256 = f"sha256:{hashlib.sha256(GOOD).hexdigest()}"
MD5 = f"md5:{hashlib.md5(GOOD).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves `files` by path; `cut` sends half of what it announces."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.server.asked.append(path)
        content = self.server.files.get(path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if path.startswith("cut") else content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server()
    running.files = {"good": GOOD, "cut": GOOD * 1000, "other": b"something else"}
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("checksum", [SHA256, MD5])
def test_a_good_file_is_fetched_once(server: Server, tmp_path: Path, checksum: str) -> None:
    download = Download(server.url("good"), "some/file.zip", checksum)
    fetch_missing([download], tmp_path, progress=False)
    fetch_missing([download], tmp_path, progress=False)
    assert (tmp_path / "some" / "file.zip").read_bytes() == GOOD
    assert left(tmp_path) == ["some/file.zip"]
    assert server.asked == ["good"]


@pytest.mark.parametrize(
    ("path", "checksum", "complaint"),
    [
        ("other", SHA256, "is not the file it should be, sha256:.*changed or damaged on the way"),
        ("other", MD5, "is not the file it should be, md5:"),
        ("cut", SHA256, "cannot be fetched: .*IncompleteRead"),
        ("cut", None, "cannot be fetched: .*IncompleteRead"),
        ("none", SHA256, "cannot be fetched: 404"),
    ],
)
def test_of_a_bad_download_nothing_is_left(
    server: Server, tmp_path: Path, path: str, checksum: str | None, complaint: str
) -> None:
    with pytest.raises(DataError, match=f"(?s){complaint}.*from https://shop.example"):
        fetch_missing(
            [Download(server.url(path), "file", checksum)], tmp_path, origin="https://shop.example", progress=False
        )
    assert left(tmp_path) == []


def test_a_server_that_is_not_there_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DataError, match="cannot be fetched"):
        fetch_missing([Download("http://127.0.0.1:9/file", "file")], tmp_path, progress=False)
    assert left(tmp_path) == []


def test_without_a_checksum_the_first_download_is_trusted_and_shown(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download = Download(server.url("good"), "file")
    fetch_missing([download], tmp_path)
    digest = hashlib.sha256(GOOD).hexdigest()
    assert (tmp_path / "file.sha256").read_text().strip() == digest
    assert f"trusting what came, SHA-256 {digest}" in capsys.readouterr().err
    (tmp_path / "file").unlink()
    server.files["good"] = b"something else"
    with pytest.raises(DataError, match=f"is not the file it should be, sha256:{digest}"):
        fetch_missing([download], tmp_path, progress=False)
    assert left(tmp_path) == ["file.sha256"]


def test_a_log_is_fetched_when_it_is_not_there_and_read_from_its_archive(server: Server, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ml/u.data", HEADER + "ann,x,1\n")
    server.files["ml.zip"] = packed.getvalue()
    log = CsvLog(
        name="log",
        path="movies/ml.zip/ml/u.data",
        data_root=str(tmp_path),
        downloads=(Download(server.url("ml.zip"), "movies/ml.zip"),),
        time=Time("s"),
    )
    for _ in range(2):
        prepared = prepare(log, tmp_path / "prepared", progress=False)
        assert events(prepared) == [("ann", "x", "interaction", 1_000_000)]
    assert server.asked == ["ml.zip"]


def test_without_pooch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(ConfigError, match=r"pip install 'recdl\[download\]', or fetch http://x/y yourself"):
        fetch_missing([Download("http://x/y", "y")], tmp_path, progress=False)


@pytest.mark.parametrize(
    ("url", "to", "checksum", "complaint"),
    [
        ("ftp://x/y", "y", None, "'ftp://x/y' is no http or https address"),
        ("file:///etc/passwd", "y", None, "no http or https address"),
        ("https://x/y", "/y", None, "'/y' must be a path below data_root"),
        ("https://x/y", "a/../../y", None, "must be a path below data_root"),
        ("https://x/y", "", None, "must be a path below data_root"),
        ("https://x/y", "y", "abc", "'abc' is neither sha256: with 64"),
        ("https://x/y", "y", "md5:xyz", "'md5:xyz' is neither"),
    ],
)
def test_a_download_that_cannot_be_is_named(url: str, to: str, checksum: str | None, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Download(url, to, checksum)
