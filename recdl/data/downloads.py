"""Files of public logs, fetched whole and checked, or not at all."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from recdl.data.inputs import Download
from recdl.errors import ConfigError, DataError
from recdl.storage import file_fingerprint, whole_file, write_text


def fetch_missing(
    downloads: Sequence[Download], root: Path, *, origin: str | None = None, progress: bool = True
) -> None:
    """Fetch those files that are not there yet.

    A file without a published checksum is trusted the first time: its SHA-256 is shown, and kept beside it in
    `<file>.sha256`, with which a later download must agree.

    Args:
        downloads: The files.
        root: The folder that they go below.
        origin: Where else they can be had, told when one cannot be fetched.
        progress: Whether to say on stderr what is fetched.

    Raises:
        ConfigError: If pooch is not installed.
        DataError: If a file cannot be fetched whole, or is not the one it should be; nothing of it is left.
    """
    console = Console(stderr=True, quiet=not progress)
    for download in downloads:
        path = root / download.to
        if not path.exists():
            console.print(f"fetching {download.url} to {path}", soft_wrap=True)
            _fetch(download, path, console, origin)


def _fetch(download: Download, path: Path, console: Console, origin: str | None) -> None:
    try:
        import pooch
        import requests
    except ImportError as error:
        raise ConfigError(
            f"{path} is not there, and fetching it needs pooch: pip install 'recdl[download]', or fetch "
            f"{download.url} yourself"
        ) from error
    kept = path.with_name(f"{path.name}.sha256")
    expected = download.checksum or _kept(kept)
    had = f"; it can also be had from {origin}" if origin else ""
    try:
        with whole_file(path) as temporary, _silent(pooch.get_logger()):
            fetched = pooch.retrieve(
                download.url,
                known_hash=expected,
                fname=temporary.name,
                path=temporary.parent,
                downloader=pooch.HTTPDownloader(progressbar=False, timeout=60),
            )
            assert Path(fetched) == temporary, "pooch writes where it is told"
            digest = file_fingerprint(temporary)
    except (OSError, requests.RequestException) as error:
        raise DataError(
            f"{download.url} cannot be fetched: {error}{had}. Nothing of it was left in {path.parent}"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{download.url} is not the file it should be, {expected}: it was changed or damaged on the way. "
            f"Nothing of it was left in {path.parent}{had}"
        ) from error
    if download.checksum is None and expected is None:
        write_text(kept, f"{digest}\n")
        console.print(
            f"no checksum of {download.url} is known; trusting what came, SHA-256 {digest}, kept in {kept}",
            soft_wrap=True,
        )


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch from writing hashes of its own to the terminal."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _kept(path: Path) -> str | None:
    """Return the checksum of an earlier download."""
    if not path.is_file():
        return None
    return f"sha256:{path.read_text(encoding='utf-8').strip()}"
