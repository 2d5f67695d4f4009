"""What a conversation remembers."""

from speech_to_speech.conversation.chat import Chat
from speech_to_speech.frames import Message


def said(chat: Chat, question: str = "?") -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in chat.asked(question)]


def test_a_new_chat_has_the_prompt_and_the_question() -> None:
    assert said(Chat("Be kind.", 2), "Who?") == [("system", "Be kind."), ("user", "Who?")]


def test_without_a_prompt_there_is_no_system_message() -> None:
    assert said(Chat("", 2), "Who?") == [("user", "Who?")]


def test_exchanges_come_before_the_question_in_order() -> None:
    chat = Chat("", 2)
    chat.add("one", "1")
    chat.add("two", "2")
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
        chat.add(f"question {number}", f"answer {number}")
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
    chat.add("one", "1")
    before = chat.asked("two")
    chat.asked("something else")
    assert chat.asked("two") == before


def test_what_was_asked_does_not_change_afterwards() -> None:
    chat = Chat("", 1)
    messages = chat.asked("one")
    chat.add("one", "1")
    assert messages == (Message("user", "one"),)


def test_chats_do_not_share_exchanges() -> None:
    first, second = Chat("", 2), Chat("", 2)
    first.add("one", "1")
    assert said(second) == [("user", "?")]


def test_a_question_whose_answer_nobody_heard_is_joined_to_the_next() -> None:
    chat = Chat("", 3)
    chat.add("one", "1")
    chat.add("What is", "")
    chat.add("the time", "")
    assert said(chat, "in Rome?") == [("user", "one"), ("assistant", "1"), ("user", "What is the time in Rome?")]


def test_the_last_answer_is_amended_to_what_was_heard() -> None:
    chat = Chat("", 3)
    chat.add("one", "1")
    chat.add("two", "It is two.")
    chat.amend("It is")
    assert said(chat)[:4] == [("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "It is")]


def test_there_is_nothing_to_amend_in_a_new_chat() -> None:
    chat = Chat("", 3)
    chat.amend("x")
    assert said(chat) == [("user", "?")]
