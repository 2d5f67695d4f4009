"""What a conversation remembers."""

import itertools

import pytest

from speech_to_speech.conversation.chat import SILENCE, Chat, Item, reply_id
from speech_to_speech.conversation.heard import Heard
from speech_to_speech.errors import ItemExists, ItemUnknown
from speech_to_speech.frames import Message
from speech_to_speech.normalization.tracked import Speakable

NUMBERS = itertools.count()


def exchange(chat: Chat, question: str, answer: str) -> None:
    chat.add(Item(f"q{next(NUMBERS)}", "user", question))
    chat.add(Item(f"a{next(NUMBERS)}", "assistant", answer))


def said(chat: Chat, question: str = "?") -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in chat.asked(question)]


def test_a_new_chat_has_the_prompt_and_the_question() -> None:
    assert said(Chat("Be kind.", 2), "Who?") == [("system", "Be kind."), ("user", "Who?")]


def test_without_a_prompt_there_is_no_system_message() -> None:
    assert said(Chat("", 2), "Who?") == [("user", "Who?")]


def test_exchanges_come_before_the_question_in_order() -> None:
    chat = Chat("", 2)
    exchange(chat, "one", "1")
    exchange(chat, "two", "2")
    assert said(chat, "three") == [
        ("user", "one"),
        ("assistant", "1"),
        ("user", "two"),
        ("assistant", "2"),
        ("user", "three"),
    ]


def test_the_oldest_exchange_is_forgotten_and_the_prompt_stays() -> None:
    chat = Chat("Be kind.", 2)
    for number in range(5):
        exchange(chat, f"question {number}", f"answer {number}")
    assert [content for _, content in said(chat)] == [
        "Be kind.",
        "question 3",
        "answer 3",
        "question 4",
        "answer 4",
        "?",
    ]


def test_asking_does_not_change_the_chat() -> None:
    chat = Chat("", 2)
    exchange(chat, "one", "1")
    before = chat.asked("two")
    chat.asked("something else")
    assert chat.asked("two") == before


def test_what_was_asked_does_not_change_afterwards() -> None:
    chat = Chat("", 1)
    messages = chat.asked("one")
    exchange(chat, "one", "1")
    assert messages == (Message("user", "one"),)


def test_chats_do_not_share_exchanges() -> None:
    first, second = Chat("", 2), Chat("", 2)
    exchange(first, "one", "1")
    assert said(second) == [("user", "?")]


def test_a_question_whose_answer_nobody_heard_is_joined_to_the_next() -> None:
    chat = Chat("", 3)
    exchange(chat, "one", "1")
    exchange(chat, "What is", "")
    exchange(chat, "the time", "")
    assert said(chat, "in Rome?") == [("user", "one"), ("assistant", "1"), ("user", "What is the time in Rome?")]


def test_a_question_without_words_adds_nothing_to_those_that_wait() -> None:
    chat = Chat("", 3)
    chat.add(Item("q", "user", "What is the time?"))
    assert said(chat, "") == [("user", "What is the time?")]


def test_where_nobody_has_said_anything_the_model_speaks_into_silence() -> None:
    assert said(Chat("Greet the user.", 3), "") == [("system", "Greet the user."), ("user", SILENCE)]


def test_a_greeting_is_told_in_the_prompt_since_templates_want_the_user_first() -> None:
    chat = Chat("Be kind.", 3)
    chat.add(Item("g", "assistant", "Hello there!"))
    assert said(chat, "Hi.") == [
        ("system", 'Be kind. You began the conversation with: "Hello there!"'),
        ("user", "Hi."),
    ]


def test_the_greeting_is_forgotten_with_the_first_exchange() -> None:
    chat = Chat("", 1)
    chat.add(Item("g", "assistant", "Hello there!"))
    for number in range(2):
        exchange(chat, f"question {number}", f"answer {number}")
    assert said(chat, "?") == [("user", "question 1"), ("assistant", "answer 1"), ("user", "?")]


# Items.


def spoken(text: str, ms: float) -> Heard:
    heard = Heard()
    heard.begin(Speakable.plain(text))
    heard.add(ms)
    heard.finish()
    return heard


def two_replies() -> Chat:
    chat = Chat("", 3)
    for turn, text in (("t1", "It is one o'clock."), ("t2", "It is two o'clock.")):
        chat.add(Item(turn, "user", f"question of {turn}"))
        chat.add(Item(reply_id(turn), "assistant", text, 1000.0, spoken(text, 1000.0)))
    return chat


@pytest.mark.parametrize("turn", ["t1", "t2"])
def test_any_reply_is_truncated_to_what_was_heard(turn: str) -> None:
    chat = two_replies()
    chat.truncate(reply_id(turn), 400.0)
    assert chat.item(reply_id(turn)).text == "It is"
    assert chat.item(reply_id(turn)).audio_ms == 400.0
    assert sum(item.text.endswith("o'clock.") for item in chat) == 1
    chat.truncate(reply_id(turn), 1000.0)
    assert sum(item.text.endswith("o'clock.") for item in chat) == 2


@pytest.mark.parametrize("item_id", ["nobody", "t1"])
def test_only_a_spoken_reply_can_be_truncated(item_id: str) -> None:
    with pytest.raises(ItemUnknown):
        two_replies().truncate(item_id, 100.0)


def test_items_are_put_where_they_are_wanted() -> None:
    chat = two_replies()
    chat.add(Item("first", "user", "first"), after="")
    chat.add(Item("behind", "user", "behind"), after="t1.reply")
    chat.add(Item("last", "user", "last"))
    assert [item.item_id for item in chat] == ["behind", "t2", "t2.reply", "last"]  # three exchanges are kept


def test_an_item_is_deleted_and_unknown_then() -> None:
    chat = two_replies()
    chat.delete("t1.reply")
    assert [item.item_id for item in chat] == ["t1", "t2", "t2.reply"]
    with pytest.raises(ItemUnknown):
        chat.item("t1.reply")
    with pytest.raises(ItemUnknown):
        chat.delete("t1.reply")


def test_no_two_items_have_one_id_and_none_is_put_behind_nothing() -> None:
    chat = two_replies()
    with pytest.raises(ItemExists):
        chat.add(Item("t1", "user", "again"))
    with pytest.raises(ItemUnknown):
        chat.add(Item("new", "user", "new"), after="nobody")
    assert [item.item_id for item in chat] == ["t1", "t1.reply", "t2", "t2.reply"]


def test_a_smaller_chat_forgets_at_once_and_another_prompt_counts_from_now_on() -> None:
    chat = two_replies()
    chat.configure("Be brief.", 1)
    assert said(chat)[:2] == [("system", "Be brief."), ("user", "question of t2")]
