"""Markup, emoji and code are not said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_to_speech.conversation.stages.speakable import SpeakableChunks
from speech_to_speech.normalization.normalizer import Normalizer


def said(text: str, language: str = "en") -> str:
    return Normalizer(language).speak(text).text


# Markup.

MARKUP = {
    "**Hello**, _my_ *dear* __friend__": "Hello, my dear friend",
    "***both*** and ~~gone~~ and ==marked==": "both and gone and marked",
    "**an end that is": "an end that is",
    "missing.** And": "missing. And",
    "snake_case and 3 * 4": "snake case and three times four",
    "# Title": "Title",
    "## Title ##\n\nText": "Title. Text",
    "Title\n=====\nText": "Title, Text",
    "- one\n- two\n  - three": "one. two. three",
    "* one\n+ two\n• three": "one. two. three",
    "- [x] done\n- [ ] open": "done. open",
    "1. First\n2) Second": "one. First. two. Second",
    "First item\n2.": "First item. two.",
    "> quoted\n> text": "quoted. text",
    "a line\nthat goes on": "a line that goes on",
    "One line\nAnother line": "One line, Another line",
    "One line.\nAnother line": "One line. Another line",
    "| a | b |\n|---|:-:|\n| c | d |": "a, b. c, d",
    "a | b": "a, b",
    "text\n\n---\n\nmore": "text more",
    "See [the docs](https://example.com/a_(b) 'x').": "See the docs.",
    "[text, with a": "text, with a",
    "comma](https://example.com).": "comma.",
    "![a cat](cat.png) sleeps": "a cat sleeps",
    "[ref][1] and [1]: x": "ref and: x",
    "It is known[1][2, 3]. Really[^a]": "It is known. Really",
    "[1]: https://example.com": "",
    "<https://example.com>": "example dot com",
    "Run `get_user()` or `fooBar`.": "Run get user or foo Bar.",
    "`os.path.join(a, b)` and `--all`": "os dot path dot join a, b and all",
    "``a`` and ```b```": "a and b",
    "a ` alone": "a alone",
    "<b>Hi</b> <span class='x'>there</span>": "Hi there",
    "one<br>Two<br/>Three": "one, Two, Three",
    "<ul><li>a</li><li>b</li></ul>": "a b",
    "a <!-- not said --> b": "a b",
    "if a < b and c > d": "if a less than b and c greater than d",
    "type <name> here": "type name here",
    "&lt;b&gt; &amp; &quot;x&quot; &#233; &nbsp;y": 'b and "x" é y',
    r"not \*bold\* \# x": "not bold x",
    r"$x^2$, \(a \leq b\) and $\frac{1}{n}$": "x squared, a at most b and one over n",
    r"$\sqrt{2} \approx 1.4$": "the square root of two about one point four",
    "$5 and $10": "five dollars and ten dollars",
    "2^10 and x^n": "two to the power of ten and x to the power of n",
    "A -> B => C → D": "A, B, C, D",
    "Wait!!! What??? No....": "Wait! What? No...",
    "yes -- no": "yes — no",
    "empty () and [] brackets {x}": "empty and brackets x",
    "Brand™ and ®": "Brand and",
    "a·b • c": "a·b, c",
    "@jane #tag": "at jane tag",
}


@pytest.mark.parametrize(("written", "spoken"), MARKUP.items())
def test_markup_is_not_said(written: str, spoken: str) -> None:
    assert said(written) == spoken


EMOJI = {
    "Great 🎉!": "Great!",
    "Hi👋there": "Hi there",
    "👍🏽 yes 🇫🇷 👨‍👩‍👧‍👦.": "yes.",
    "1️⃣ First": "one First",
    "I ❤️ you": "I you",
    "fine :) really ;-) ok :D": "fine really ok",
    "see: (this)": "see: (this)",
    "at 5:00 <3": "at five o'clock",
    ":smile: hello :thumbs_up:": "hello",
    "★★★ good ✓": "good",
}


@pytest.mark.parametrize(("written", "spoken"), EMOJI.items())
def test_emoji_are_not_said(written: str, spoken: str) -> None:
    assert said(written) == spoken


CHARACTERS = {
    "a\u200bb\u00adc\ufeff": "abc",
    "bell\x07 tab\there": "bell tab here",
    "１２ ＡＢＣ ㎏": "twelve ABC kg",
    "ﬁne 𝗯𝗼𝗹𝗱 ①": "fine bold one",
    "cafe\u0301": "café",
    "10\u202f000 and 5\u00a0km": "ten thousand and five kilometres",
    "\ud83d half": "half",
    "right\u202eleft": "rightleft",
    "crlf\r\nline": "crlf line",
}


@pytest.mark.parametrize(("written", "spoken"), CHARACTERS.items())
def test_unusual_characters_become_usual_or_go(written: str, spoken: str) -> None:
    assert said(written) == spoken


def test_joiners_stay_in_scripts_that_need_them() -> None:
    assert said("می\u200cخواهم 😀", "fa") == "می\u200cخواهم"


# Blocks of code.


def spoken_pieces(*pieces: str) -> list[str]:
    normalizer = Normalizer("en")
    return [normalizer.speak(piece).text for piece in pieces]


def test_a_block_of_code_is_passed_over_through_all_its_pieces() -> None:
    assert spoken_pieces("Look:\n```python\nx = 1", "y = 2", "print(x)\n```\nDone.", "Bye.") == [
        "Look:",
        "",
        "Done.",
        "Bye.",
    ]


@pytest.mark.parametrize("fence", ["```", "````", "~~~", "  ```", "> ```"])
def test_a_block_ends_with_the_fence_that_began_it(fence: str) -> None:
    assert spoken_pieces(f"{fence}\na", f"b\n{fence}\nend") == ["", "end"]


def test_shorter_fences_are_code() -> None:
    assert spoken_pieces("````\n```\na\n```", "b\n````\nend") == ["", "end"]


def test_a_fence_with_a_language_does_not_end_a_block() -> None:
    assert spoken_pieces("```\na", "```python\nb", "```\nend") == ["", "", "end"]


def test_a_fence_may_be_a_piece_of_its_own() -> None:
    assert spoken_pieces("```", "x = 1", "```", "Done.") == ["", "", "", "Done."]


def test_a_block_within_a_piece() -> None:
    assert said("Before.\n```\ncode\n```\nAfter.") == "Before. After."
    assert said("One\n~~~\na\n~~~\nTwo\n```\nb\n```") == "One, Two"


def test_the_blocks_of_two_replies_do_not_mix() -> None:
    first, second = Normalizer("en"), Normalizer("en")
    first.speak("```\ncode")
    assert second.speak("Hello.").text == "Hello."
    assert first.speak("Hello.").text == ""


REPLY = """Sure, here it is:

```python
def hello():
    print("Hi. There, you.")

hello()
```

It prints **1** line, and costs $2."""


@given(st.integers(1, 40))
def test_a_reply_with_code_as_the_language_model_sends_it(size: int) -> None:
    chunks, normalizer = SpeakableChunks(), Normalizer("en")
    pieces = [piece for start in range(0, len(REPLY), size) for piece in chunks.push(REPLY[start : start + size])]
    spoken = [normalizer.speak(piece).text for piece in [*pieces, *chunks.finish()]]
    assert [text for text in spoken if text] == ["Sure, here it is:", "It prints one line, and costs two dollars."]
