"""The voices of MMS that are in memory: some loaded ahead, others on demand, by a thread of their own."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speech_to_speech.errors import CheckpointError, SpeechToSpeechError, StageBusy, StageError, StageFailed
from speech_to_speech.tts.mms.voice import Voice

logger = logging.getLogger(__name__)

RETRY_S = 60.0  # the pause after a voice could not be loaded


@dataclass(frozen=True)
class Failure:
    """Why a voice can't be had, and until when it is not tried again (monotonic time)."""

    error: StageError
    until_s: float


class Voices:
    """Voices by the names of their checkpoints, in no more than `limit_bytes` of memory.

    `fetch` gives a checkpoint's folder, `measure` the bytes that it will take, `load` the voice; all three may take
    long. What nobody uses is dropped for what is wanted, the least recently used first; what was loaded ahead stays.
    All methods but `load_ahead` return at once; they may be called on any thread.
    """

    def __init__(
        self,
        fetch: Callable[[str], Path],
        measure: Callable[[Path], int],
        load: Callable[[str, Path], Voice],
        limit_bytes: int,
    ) -> None:
        self._fetch, self._measure, self._load = fetch, measure, load
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._loaded: OrderedDict[str, Voice] = OrderedDict()  # the least recently used voice comes first
        self._kept: set[str] = set()
        self._failures: dict[str, Failure] = {}
        self._wanted: list[str] = []
        self._thread: threading.Thread | None = None

    def load_ahead(self, name: str) -> Voice:
        """Load a voice that is to stay, on the calling thread.

        Raises:
            CheckpointError: it can't be had, or does not fit with those loaded before it.
        """
        try:
            voice = self._get(name)
        except StageError:
            limit_mb = self._limit_bytes // 1_000_000
            raise CheckpointError(
                f"facebook_mms_memory_mb: {limit_mb} MB are too little for the voices to be loaded ahead; allow more, "
                "or name fewer facebook_mms_languages"
            ) from None
        self._kept.add(name)
        return voice

    def take(self, name: str) -> Voice | None:
        """The voice, to be used until `give_back`; None if it is not loaded: then say that you `want` it.

        Raises:
            StageError: it could not be loaded a short while ago.
        """
        with self._changed:
            if name in self._loaded:
                self._loaded.move_to_end(name)
                self._loaded[name].users += 1
                return self._loaded[name]
            failure = self._failures.get(name)
        if failure is not None and time.monotonic() < failure.until_s:
            raise failure.error
        return None

    def give_back(self, voice: Voice) -> None:
        with self._changed:
            voice.users -= 1
            if not voice.users:  # a voice that had no room may have room now
                self._failures = {
                    name: failure
                    for name, failure in self._failures.items()
                    if not isinstance(failure.error, StageBusy)
                }

    def want(self, names: Sequence[str]) -> None:
        """Load these next, one after the other. What was wanted before and is not among them is wanted no more."""
        with self._changed:
            self._wanted = list(names)
            if self._thread is None and self._next() is not None:
                self._thread = threading.Thread(target=self._load_wanted, name="mms-loader", daemon=True)
                self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until a load has ended, or for the time given."""
        with self._changed:
            self._changed.wait(timeout_s)

    @property
    def names(self) -> list[str]:
        """Those in memory, the least recently used first."""
        with self._changed:
            return list(self._loaded)

    # The loader's thread, which ends when nothing is wanted.

    def _load_wanted(self) -> None:
        while True:
            with self._changed:
                name = self._next()
                if name is None:
                    self._thread = None
                    return
                self._failures.pop(name, None)
            failure = self._failure_of(name)
            with self._changed:
                if failure is not None:
                    self._failures[name] = failure
                self._changed.notify_all()

    def _next(self) -> str | None:
        now = time.monotonic()
        for name in self._wanted:
            failure = self._failures.get(name)
            if name not in self._loaded and (failure is None or failure.until_s <= now):
                return name
        return None

    def _failure_of(self, name: str) -> Failure | None:
        """Load a voice; what went wrong is logged in full, while a client is told only what concerns it."""
        started = time.monotonic()
        try:
            voice = self._get(name)
        except StageBusy as error:
            logger.warning("%s", error)
            return Failure(error, time.monotonic() + RETRY_S)
        except Exception as error:
            if isinstance(error, SpeechToSpeechError):
                logger.warning("the voice %s can't be loaded: %s", name, error)
            else:
                logger.error("the voice %s can't be loaded", name, exc_info=error)
            told = StageFailed("tts", "the voice of this language can't be loaded; the service's log says why")
            return Failure(told, time.monotonic() + RETRY_S)
        logger.info("loaded %s in %.1f s, %.0f MB", name, time.monotonic() - started, voice.byte_count / 1e6)
        return None

    def _get(self, name: str) -> Voice:
        folder = self._fetch(name)
        self._make_room(self._measure(folder))
        voice = self._load(name, folder)
        with self._changed:
            self._loaded[name] = voice
        return voice

    def _make_room(self, needed_bytes: int) -> None:
        with self._changed:
            used = sum(voice.byte_count for voice in self._loaded.values())
            for name, voice in list(self._loaded.items()):
                if used + needed_bytes <= self._limit_bytes:
                    break
                if not voice.users and name not in self._kept:
                    del self._loaded[name]
                    used -= voice.byte_count
                    logger.info("dropped %s, %.0f MB", name, voice.byte_count / 1e6)
        if used + needed_bytes > self._limit_bytes:
            raise StageBusy("tts", "there is no memory for one more language at the moment")
