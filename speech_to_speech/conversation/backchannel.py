"""The small words of a listener: they say "go on", and do not ask for the floor.

Short sounds and words of agreement (Yngve, "On getting a word in edgewise", 1970), alone or a few in a row.
Hesitations, laughs and what speech recognisers write for a cough count too; a word that contradicts, asks or begins a
sentence does not.
"""

import re
import unicodedata

MOST_IN_A_ROW = 6

SOUNDS = re.compile(
    r"""m+ | m+h+m* | h+m+ | h+u+m+ | u+h+u+h+ | u+h+ | u+m+ | e+r+m* | e+u+h+ | e+h+
    | a+h+ | o+h+ | o+o+h+ | a+h?a+h* | a+j+a+ | h+u+h+ | h+a+ | (?:ha)+h* | (?:he){2,} | (?:ja){2,}
    | o+k+ | o+k+a+y+ | o+k+e+y+""",
    re.VERBOSE,
)
"""Of any language, as they are spelled in Latin letters."""
REFUSALS = frozenset({"uh uh", "nuh uh", "unh unh"})  # these look like such sounds and say no

WORDS = {
    "en": """yeah yep yup yes ya yah aye right alright allright sure exactly precisely true indeed absolutely
    definitely certainly totally gotcha understood good great nice cool perfect wow interesting really continue
    all right|of course|i see|oh i see|i know|i understand|i get it|got it|i got it|makes sense|that makes sense
    thats right|thats true|very true|so true|fair enough|good point|sounds good|you are right|youre right
    very good|very nice|for sure|no doubt|go on|please go on|go ahead|carry on|is that so|is that right""",
    "fr": """oui ouais mouais ouaip exactement absolument effectivement bien bon voila entendu compris parfait
    super vraiment evidemment certes justement daccord vrai
    daccord|je vois|je comprends|bien sur|cest ca|tout a fait|tres bien|en effet|cest vrai|ah bon|cest juste
    bien entendu|cest bien|je sais|ca marche|pas de souci|allez y|continuez|vas y|continue""",
    "es": """si ya claro vale bueno exacto exactamente eso entiendo entendido cierto correcto perfecto bien aja
    efectivamente verdad genial comprendo sip
    ya veo|eso es|de acuerdo|por supuesto|muy bien|claro que si|asi es|es verdad|es cierto|lo se|ya lo se
    esta bien|de verdad|en serio|tienes razon|tiene razon|sigue|siga|adelante|desde luego""",
    "zh": """嗯 恩 哦 噢 喔 啊 哎 诶 欸 呃 唔 好 好的 好啊 对 对的 对啊 對 對的 對啊 是 是的 是啊 行 没错 沒錯
    可以 明白 明白了 我明白 我明白了 知道 知道了 我知道 我知道了 懂了 我懂 我懂了 了解 原来如此 原來如此
    原来是这样 这样啊 這樣啊 当然 當然 有道理 真的 真的吗 真的嗎 是吗 是嗎 嗯哼 哈 呵 继续 請繼續 请继续 哇""",
    "ja": """うん ん はい え ええ そう そうそう そうですね そうだね そうね そうですか そうなんだ そうなんですか
    そうなんですね そっか そうか なるほど なるほどね なるほどですね へえ へ ほう ほお ふん ふむ ふうん あ お
    おお わあ 確かに たしかに 分かりました わかりました 分かった わかった 分かります わかります 了解 了解です
    オッケ オケ もちろん もちろんです 本当 ほんと 本当に ほんとに 本当ですか ほんとですか マジ まじ いいね
    いいですね その通り そのとおり その通りです そのとおりです うむ まあ えと 続けて 続けてください""",
    "ko": """네 네에 예 응 어 음 흠 아 오 와 아하 으음 으흠 그래 그래요 그렇죠 그렇지 그렇군 그렇군요 그렇구나
    그렇네 그렇네요 그렇습니다 맞아 맞아요 맞습니다 맞죠 알겠어 알겠어요 알겠습니다 알았어 알았어요 알아 알아요
    좋아 좋아요 좋습니다 물론 물론이죠 물론이지 당연하지 당연하죠 정말 정말요 진짜 진짜요 오케이 그럼 그럼요
    이해했어요 이해해요 그러게 그러게요 계속 계속하세요 계속해""",
}
"""By ISO 639-1 code: words, and phrases between bars; in lower case, the Latin ones without accents and apostrophes."""

SURPRISE = {
    "en": "really|oh really|is that so|is that right|yeah|right",
    "fr": "vraiment|ah bon",
    "es": "de verdad|en serio|verdad",
    "zh": "真的|真的吗|真的嗎|是吗|是嗎",
    "ja": "本当|ほんと|本当に|ほんとに|本当ですか|ほんとですか|そう|そうですか|そうなんですか|マジ|まじ|へえ|え",
    "ko": "정말|정말요|진짜|진짜요|그래|그래요",
}
"""What is none the less one with a question mark."""

UNSPACED = ("zh", "ja", "ko")
ANNOTATION = re.compile(r"\([^)]*\)|\[[^\]]*\]|\*[^*]*\*|<[^>]*>|（[^）]*）|【[^】]*】")
APOSTROPHES = re.compile(r"['’‘ʼ`´]")
NO_WORD = re.compile(r"[\W_]+")
DRAWN_OUT = re.compile(r"[ー〜～~]+|[っッ]+(?=\W|$)")


def _phrases(lines: str) -> frozenset[str]:
    """One line of phrases has bars, one of words has none."""
    found: set[str] = set()
    for line in lines.splitlines():
        found.update(phrase.strip() for phrase in (line.split("|") if "|" in line else line.split()))
    return frozenset(found - {""})


_WORDS = {language: _phrases(lines) for language, lines in WORDS.items()}
_SURPRISE = {language: frozenset(line.split("|")) for language, line in SURPRISE.items()}


def is_backchannel(text: str, language: str) -> bool:
    """Whether `text`, as a speech recogniser writes it, only says that somebody listens; no words at all do so too.

    `language` is an ISO 639-1 code; of a language that is not known here, only sounds such as "mm-hmm" and "ok" count.
    """
    code = language[:2].lower()
    text = ANNOTATION.sub(" ", unicodedata.normalize("NFKC", text).lower())
    asked = "?" in text
    known = (_SURPRISE if asked else _WORDS).get(code, frozenset())
    if code in UNSPACED:
        text = DRAWN_OUT.sub("", text)
    else:
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    words = NO_WORD.sub(" ", APOSTROPHES.sub("", text)).split()
    if " ".join(words) in REFUSALS:
        return False
    if code in UNSPACED:
        words = [part for word in words for part in (word if not word.isascii() else [word])]
    return _consists(words, known, asked=asked, gap="" if code in UNSPACED else " ")


def _consists(words: list[str], known: frozenset[str], *, asked: bool, gap: str) -> bool:
    """Whether the words are known phrases and sounds, one after the other and few enough."""
    fewest = [0] + [MOST_IN_A_ROW + 1] * len(words)  # the fewest phrases that make the words up to each place
    for end in range(1, len(words) + 1):
        for start in range(max(0, end - 10), end):
            phrase = gap.join(words[start:end])
            alone = end - start == 1
            if _is_known(phrase, known) or (alone and not asked and SOUNDS.fullmatch(phrase)):
                fewest[end] = min(fewest[end], fewest[start] + 1)
    return fewest[-1] <= MOST_IN_A_ROW


def _is_known(phrase: str, known: frozenset[str]) -> bool:
    """As it is, or drawn out: yeahhh, riiight, goood."""
    if phrase in known:
        return True
    return phrase.isascii() and any(
        re.sub(pattern, short, phrase) in known
        for pattern, short in ((r"(.)\1\1+", r"\1"), (r"(.)\1\1+", r"\1\1"), (r"(.)\1+$", r"\1"))
    )
