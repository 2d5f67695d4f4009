"""What a listener says without wanting the floor, and what is more than that."""

import pytest

from speech_to_speech.conversation.backchannel import SURPRISE, WORDS, is_backchannel

GO_ON = {
    "en": "Mm-hmm.|Uh huh.|uh-huh|mhm|Mmm|hmm|yeah|Yeah, yeah.|mm mm|Right, right, okay.|yeahhh|Riiight|Goood|Ok|"
    "I see.|Oh, I see!|Sure|Exactly!|That’s right.|That's true|Really?|Oh really?|Ha ha ha|Um|Ah|Aha!|Please, go on.",
    "fr": "Oui, oui.|Ouais|D'accord.|D’accord|Ah bon ?|C'est ça.|Mmh|Je vois|Tout à fait !|Bien sûr|Ah oui|Euh|OK",
    "es": "Sí.|Sí, claro.|Vale, vale|Ajá.|Ya veo|Así es|¿De verdad?|De acuerdo|Mm|Ok|Ya, ya, ya",
    "zh": "嗯。|嗯嗯|对对对|對啊|好的，我知道了。|嗯，对。|是吗？|没错|OK|Mm-hmm.|原来如此",
    "ja": "うん。|うんうん|はい、はい。|はいっ|そうですね。|そっか|なるほどー|へえー|うーん|そうですか？|OK",
    "ko": "네.|네, 네.|네네|아 그렇군요.|응~|그래요?|맞아요|알겠습니다.|음...|오케이|OK",
}
NOT_THAT = {
    "en": "no|No, no.|stop|Wait.|hold on|Yes, but|Right, and what about the train?|okay stop|Okay, wait.|Huh?|What?|"
    "OK?|Uh-uh.|he|you|Yeah, I think so too|I see a problem there|Sure, but not today|What is that right|never mind",
    "fr": "non|oui mais|Hein ?|arrête|attends|D'accord, mais quand ?|Stop",
    "es": "no|sí pero|espera|para|Claro, pero cuándo|¿Qué?|¿Sí?",
    "zh": "不|不是|不对|对，但是|等一下|好了|行了|可以了|停|好吗？|是不是",
    "ja": "ううん|いいえ|いや|はい、でも|ちょっと待って|やめて|そうじゃない|はい？",
    "ko": "아니|아니요|네, 그런데|잠깐|잠깐만요|그래도|그만|네?",
}


@pytest.mark.parametrize("language", GO_ON)
def test_small_words_say_go_on(language: str) -> None:
    assert [text for text in GO_ON[language].split("|") if not is_backchannel(text, language)] == []


@pytest.mark.parametrize("language", NOT_THAT)
def test_what_asks_contradicts_or_goes_on_is_more(language: str) -> None:
    assert [text for text in NOT_THAT[language].split("|") if is_backchannel(text, language)] == []


@pytest.mark.parametrize("text", ["", "  ", "...", "(coughs)", "[BLANK_AUDIO]", "*sigh*", "♪", "（咳）"])
def test_no_words_are_one(text: str) -> None:
    assert is_backchannel(text, "en")
    assert is_backchannel(text, "zh")


def test_a_few_in_a_row_but_not_many() -> None:
    assert is_backchannel("yeah " * 6, "en")
    assert not is_backchannel("yeah " * 7, "en")


def test_of_an_unknown_language_only_the_sounds_are_known() -> None:
    assert is_backchannel("Mm-hmm, ok.", "sw")
    assert is_backchannel("Uh-huh", "")
    assert not is_backchannel("yes", "sw")


def test_a_region_does_not_matter() -> None:
    assert is_backchannel("I see", "en-GB")
    assert is_backchannel("是的", "zh-TW")


@pytest.mark.parametrize("language", WORDS)
def test_every_word_of_the_lists_can_be_found(language: str) -> None:
    """None is written in a way that the text is never brought to."""
    phrases = [p for line in WORDS[language].splitlines() for p in (line.split("|") if "|" in line else line.split())]
    assert [phrase for phrase in phrases if not is_backchannel(phrase, language)] == []
    asked = SURPRISE[language].split("|")
    assert [phrase for phrase in asked if not is_backchannel(f"{phrase}?", language)] == []
