"""A large file in steps: what a download left behind is where the next one goes on.

The library goes on where a connection broke off, but not where a process ended: it downloads to a file of a random
name, and removes or forgets that. Here the beginning is kept under the file's SHA-256 until all of it is there.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from speech_to_speech.weights.hub.places import Place, RemoteFile

HASH_STEP_BYTES = 1 << 22


class Damaged(Exception):
    """The bytes that came are not those of the file."""


class Taken(Exception):
    """Another process is downloading the file."""


def fetch_large(place: Place, file: RemoteFile, commit: str, bar: type, sign: Callable[[], None]) -> None:
    """Download a file whose SHA-256 is known to where `hf_hub_download` then finds it.

    Raises:
        Damaged: its bytes are others; what was there is removed.
        Taken: another process is at it.
        Exception: what the library raises.
    """
    import fcntl

    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # loaded lazily: mypy does not see it

    if file.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
        return  # the hub gives so large a file in another way only, which the library knows
    partial = place.partial(file)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Taken from None
        except OSError:  # the file system has no locks
            pass
        if stream.tell() > file.size:
            stream.truncate(0)
        stream.seek(0, 2)
        http_get(
            hf_hub_url(place.repository, file.path, revision=commit),
            stream,
            resume_size=stream.tell(),
            headers=build_hf_headers() | {"Accept-Encoding": "identity"},
            expected_size=file.size,
            tqdm_class=bar,
        )
        stream.flush()
        if _sha256(partial, sign) != file.sha256:
            partial.unlink()
            raise Damaged
        place.put(file, partial)


def _sha256(path: Path, sign: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(HASH_STEP_BYTES):
            digest.update(block)
            sign()
    return digest.hexdigest()
