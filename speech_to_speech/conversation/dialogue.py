"""What was said so far, as the language model is shown it, and the language that it goes on in."""

import contextlib

from speech_to_speech.conversation.chat import Chat, Item, reply_id
from speech_to_speech.conversation.options import SessionOptions
from speech_to_speech.conversation.reply import Reply
from speech_to_speech.errors import ItemUnknown
from speech_to_speech.frames import ChatRequest, Transcript
from speech_to_speech.languages import AnswerLanguage

PROMPT_LANGUAGE = "en"


class Dialogue:
    """The chat of one conversation, and its language. `speakable` are those that a reply can be in, None: any."""

    def __init__(self, options: SessionOptions, speakable: frozenset[str] | None) -> None:
        self.chat = Chat(options.prompt, options.chat_size)
        self._speakable = speakable
        self._language_asked = options.language
        self._language = AnswerLanguage(options.language, speakable)

    def configure(self, options: SessionOptions) -> None:
        self.chat.configure(options.prompt, options.chat_size)
        if options.language != self._language_asked:
            self._language_asked = options.language
            self._language = AnswerLanguage(options.language, self._speakable)

    def language_of(self, heard: str) -> str:
        """The language of an utterance: if it could not be told, the last one."""
        return self._language.of(heard)

    def request_for(self, reply: Reply) -> ChatRequest:
        """What the model is shown for a reply, whose language is chosen by that."""
        reply.language = self._language.to(reply.language_heard)
        # A model answers in the language of its prompt, unless told otherwise.
        answer_in = None if reply.options.language == PROMPT_LANGUAGE else reply.language
        return ChatRequest(self.chat.asked(reply.question, answer_in), reply.language, reply.options.sampling)

    def note(self, turn_id: str, parts: list[Transcript]) -> str:
        """Remember an utterance that nobody has answered, if there were words in it; its text."""
        text = " ".join(part.text for part in parts if part.text)
        if text:
            self.chat.add(Item(turn_id, "user", text))
            self._language.used(self._language.to(parts[-1].language))
        return text

    def keep(self, reply: Reply) -> bool:
        """A turn is over: remember its question and what was heard of the reply; whether there was anything."""
        record = reply.record
        if not reply.transcribed or (reply.spoken and not reply.question):
            return False
        self._language.used(reply.language or self._language.to(reply.language_heard))
        heard = reply.heard.until(record.heard_ms)
        if not heard and record.outcome != "interrupted":
            return False
        if reply.question:
            self.chat.add(Item(reply.turn_id, "user", reply.question))
        self.chat.add(Item(reply_id(reply.turn_id), "assistant", heard, record.heard_ms, reply.heard))
        return True

    def amend(self, turn_id: str, played_ms: float) -> None:
        """So much was heard of that turn's reply, if it is still remembered."""
        with contextlib.suppress(ItemUnknown):
            self.chat.truncate(reply_id(turn_id), played_ms)
