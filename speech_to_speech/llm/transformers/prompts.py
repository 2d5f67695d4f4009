"""A chat becomes the prompt of an instruct model, by the chat template of its checkpoint."""

import re
from collections.abc import Sequence
from typing import Any

from speech_to_speech.errors import CheckpointError, StageFailed
from speech_to_speech.frames import Message

Entry = dict[str, str]

# The words that the templates are tried with.
SYSTEM_PROBE, USER_PROBE, ASSISTANT_PROBE = "sunflower", "harvester", "waterfall"


class Prompts:
    """The prompts of one checkpoint.

    `name` is the checkpoint as the user named it, the roles are what the template is to call system and user, and
    `tokenizer` is one of transformers.

    Raises:
        CheckpointError: there is no chat template, or it does not know the roles.
    """

    def __init__(self, tokenizer: Any, name: str, *, user_role: str, system_role: str, flag: str) -> None:
        if not tokenizer.chat_template:
            raise CheckpointError(
                f"{flag}: {name} has no chat template, so it is no instruct model; choose one whose name ends in "
                "Instruct, HuggingFaceTB/SmolLM2-360M-Instruct say"
            )
        self._tokenizer = tokenizer
        self._roles = {"system": system_role, "user": user_role, "assistant": "assistant"}
        self._control = re.compile("|".join(map(re.escape, _control_tokens(tokenizer))) or "(?!)")
        self._try(name, flag)

    def _try(self, name: str, flag: str) -> None:
        user, system = self._entry("user", USER_PROBE), self._entry("system", SYSTEM_PROBE)
        assistant = self._entry("assistant", ASSISTANT_PROBE)
        try:
            self._expect([user], [USER_PROBE])
            self._expect([user, assistant, user], [USER_PROBE, ASSISTANT_PROBE])
        except Exception as error:
            if self._roles["user"] == "user":
                problem = _one_line(error)
                raise CheckpointError(f"{flag}: the chat template of {name} does not work: {problem}") from error
            raise CheckpointError(
                f"user_role: the chat template of {name} knows no role {self._roles['user']!r}; leave user_role out"
            ) from error
        self.has_system_role = True
        """The template takes a system message. Otherwise the message is put at the head of the first user message."""
        try:
            self._expect([system, user], [SYSTEM_PROBE, USER_PROBE])
        except Exception as error:
            if self._roles["system"] != "system":
                raise CheckpointError(
                    f"init_chat_role: the chat template of {name} knows no role {self._roles['system']!r}; "
                    "leave init_chat_role out"
                ) from error
            self.has_system_role = False
        self.opening = "<think>" if self._text([user]).rstrip().endswith("<think>") else ""
        """The part of the answer that the prompt has already: some templates begin a reasoning model's thoughts."""

    def _expect(self, entries: list[Entry], probes: Sequence[str]) -> None:
        text = self._text(entries)
        if missing := [probe for probe in probes if probe not in text]:
            raise ValueError(f"it leaves out {len(missing)} of {len(entries)} messages")

    def tokens(self, messages: Sequence[Message], limit: int) -> list[int]:
        """The prompt for an answer to the last message.

        If it were longer than `limit` tokens, as many of the oldest exchanges are left out as it takes. The system
        message and the last question stay.

        Raises:
            StageFailed: it is too long even so, or the template can't take these messages.
        """
        system = [message for message in messages[:1] if message.role == "system"]
        rest = messages[len(system) :]
        # A chat may begin anew at each of these messages: with a question.
        starts = [index for index, message in enumerate(rest) if message.role == "user"] or [0]
        tokens = self._tokens([*system, *rest])
        low, high = 0, len(starts) - 1
        if len(tokens) <= limit:
            return tokens
        shortest = self._tokens([*system, *rest[starts[high] :]])
        if len(shortest) > limit:
            raise StageFailed("llm", f"the question makes a prompt of {len(shortest)} tokens, and {limit} is the limit")
        while high - low > 1:  # `starts[low]` is too early, `starts[high]` late enough
            middle = (low + high) // 2
            tokens = self._tokens([*system, *rest[starts[middle] :]])
            if len(tokens) <= limit:
                high, shortest = middle, tokens
            else:
                low = middle
        return shortest

    def _tokens(self, messages: Sequence[Message]) -> list[int]:
        entries = [self._entry(message.role, message.content) for message in messages]
        if not self.has_system_role and len(messages) > 1 and messages[0].role == "system":
            head, first, *rest = entries
            entries = [first | {"content": f"{head['content']}\n\n{first['content']}"}, *rest]
        try:
            return [int(token) for token in self._apply(entries, tokenize=True)]
        except Exception as error:
            raise StageFailed("llm", f"the chat template failed with {type(error).__name__}") from error

    def _entry(self, role: str, content: str) -> Entry:
        """A message as templates take it. What a person says can't contain a control token."""
        return {"role": self._roles.get(role, role), "content": self._control.sub(" ", content)}

    def _text(self, entries: list[Entry]) -> str:
        return str(self._apply(entries, tokenize=False))

    def _apply(self, entries: list[Entry], *, tokenize: bool) -> Any:
        # Templates that know no thinking ignore the variable; nobody wants to wait for thoughts in a conversation.
        return self._tokenizer.apply_chat_template(
            entries, tokenize=tokenize, add_generation_prompt=True, return_dict=False, enable_thinking=False
        )


def _control_tokens(tokenizer: Any) -> list[str]:
    """The names of tokens that are no text, such as `<|eot_id|>` and `<think>`; longest first."""
    tokens = tokenizer.added_tokens_decoder.values()
    names = {token.content for token in tokens if token.special or re.fullmatch(r"<[^ ]+>|\[[A-Z_/]+\]", token.content)}
    return sorted(names, key=len, reverse=True)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
