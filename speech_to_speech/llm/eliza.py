"""NLTK's ELIZA (https://www.nltk.org, Apache-2.0), after Weizenbaum 1966: rules, no data, English only.

It answers the last message alone. It is there so that the service can talk with nothing downloaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from speech_to_speech.frames import ChatRequest, Message
from speech_to_speech.workers.model import Job, ListJob, WorkerKind


class Eliza:
    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 16
    languages: ClassVar[frozenset[str]] = frozenset({"en"})

    @dataclass(frozen=True)
    class Options:
        pass

    def __init__(self, options: Options) -> None:
        self._chatbot: Any = None

    def load(self) -> None:
        from nltk.chat.eliza import eliza_chatbot

        self._chatbot = eliza_chatbot

    def warm_up(self) -> None:
        self.run([ListJob(ChatRequest((Message("user", "hello"),), "en"))])

    def run(self, jobs: Sequence[Job[ChatRequest, str]]) -> None:
        for job in jobs:
            answer: str = self._chatbot.respond(job.request.messages[-1].content)
            for number, word in enumerate(answer.split()):
                if job.cancelled:
                    break
                job.emit(word if number == 0 else f" {word}")
