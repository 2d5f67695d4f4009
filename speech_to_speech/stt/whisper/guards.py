"""Whisper writes something whatever it hears; here is what of it may be believed.

- Where the model itself holds the sound for no speech and is unsure of its words, there are none. The two thresholds
  are those of the reference (https://github.com/openai/whisper, `transcribe`: no_speech_threshold, logprob_threshold).
  The same where it is sure of its words, but the energy of the sound says too that nobody spoke.
- A text that compresses too well repeats itself (the same, compression_ratio_threshold). The reference tries again
  with chance added, which takes up to six times as long and has another outcome each time; here a repeated phrase is
  kept once, as in "delooping" (Barański et al.: Investigation of Whisper ASR Hallucinations Induced by Non-Speech
  Audio, ICASSP 2025, https://arxiv.org/abs/2501.11378).
- Whisper was taught with the subtitles of videos, and gives what stands there under silence: thanks, and credits. The
  same paper collects such sentences in a bag. Here they are dropped only if the no-speech probability or the energy of
  the sound says too that nobody spoke: a person who says "thank you" is heard. The sentences are those that users
  report again and again (https://github.com/openai/whisper/discussions/679 and the like).
"""

import re
import zlib

import numpy as np

from speech_to_speech.audio.samples import Samples
from speech_to_speech.stt.whisper.audio import lacks_speech

NO_SPEECH = 0.6  # a higher probability stands for no speech
UNSURE = -1.0  # a lower average log-probability of the tokens stands for an unsure text
REPETITIVE = 2.4  # a higher compression ratio stands for a loop
COPIES = 3  # a phrase that stands so often in a row is a loop

SENTENCE_END = re.compile(r"(?<=[.!?。！？…])\s*")
NOT_WORD = re.compile(r"[\W_]+")

SENTENCES = """
you / Thank you. / Thanks. / Thank you very much. / Thank you so much. / Thank you for watching. / Bye. / Bye bye.
Thanks for watching. / Thank you for watching this video. / Thanks for watching and I'll see you in the next video.
Please subscribe. / Please subscribe to my channel. / Please like and subscribe. / Don't forget to like and subscribe.
Like and subscribe. / Subtitles by the Amara.org community. / Subtitles by Amara.org. / Transcription by CastingWords.
Transcribed by https://otter.ai

Merci. / Merci beaucoup. / Merci d'avoir regardé cette vidéo. / Merci d'avoir regardé. / Au revoir. / Abonnez-vous.
Abonnez-vous à la chaîne. / Sous-titres réalisés par la communauté d'Amara.org. / Sous-titres par Amara.org.
Sous-titres réalisés para la communauté d'Amara.org. / Sous-titrage Société Radio-Canada. / Sous-titrage ST' 501.
Sous-titrage FR. / Sous-titrage.

Gracias. / Muchas gracias. / Gracias por ver el video. / Gracias por ver el vídeo. / ¡Gracias por ver! / Adiós.
¡Suscríbete! / ¡Suscríbete al canal! / Subtítulos realizados por la comunidad de Amara.org.
Subtítulos por la comunidad de Amara.org. / Subtítulos en español de Amara.org.

谢谢。 / 谢谢大家。 / 谢谢观看。 / 感谢观看。 / 谢谢收看。 / 字幕志愿者 / 中文字幕志愿者 / 字幕by索兰娅
謝謝。 / 謝謝大家。 / 謝謝觀看。 / 感謝觀看。 / 謝謝收看。 / 字幕由Amara.org社区提供 / 字幕由 Amara.org 社群提供
请不吝点赞 订阅 转发 打赏支持明镜与点点栏目 / 請不吝點贊 訂閱 轉發 打賞支持明鏡與點點欄目 / 明镜与点点栏目
優優獨播劇場——YoYo Television Series Exclusive

ご視聴ありがとうございました。 / ありがとうございました。 / ありがとうございます。 / おやすみなさい。
ご清聴ありがとうございました。 / 最後までご視聴いただきありがとうございます。
最後までご視聴いただきありがとうございました。 / チャンネル登録お願いします。 / 次の動画でお会いしましょう。
チャンネル登録よろしくお願いします。 / 高評価とチャンネル登録よろしくお願いします。

감사합니다. / 고맙습니다. / 시청해주셔서 감사합니다. / 시청해 주셔서 감사합니다. / 영상편집 및 자막
끝까지 시청해주셔서 감사합니다. / 구독과 좋아요 부탁드립니다. / 구독과 좋아요 부탁드려요. / 자막 제공 배달의민족
다음 영상에서 만나요. / 한글자막 by 한효정 / MBC 뉴스 이덕영입니다. / MBC 뉴스 김성현입니다.
"""


def _bare(sentence: str) -> str:
    """Letters and digits only, without case."""
    return NOT_WORD.sub("", sentence).casefold()


HALLUCINATIONS = frozenset(_bare(sentence) for sentence in re.split(r" / |\n", SENTENCES)) - {""}


def believed(text: str, samples: Samples, no_speech: float, sureness: float) -> str:
    """What of a transcript is believed: mostly all, without its loops; "" if nobody spoke.

    `samples` are what it was heard in (float, 16 kHz), `no_speech` is the probability 0..1 that the model gave to
    "no speech", `sureness` the average log-probability of the tokens (0 or less; 0.0 where it is not known).
    """
    witnesses = [no_speech > NO_SPEECH, lacks_speech(samples)]
    if all(witnesses) or (no_speech > NO_SPEECH and sureness < UNSURE):
        return ""
    text = unlooped(text)
    return "" if any(witnesses) and is_hallucination(text) else text


def is_hallucination(text: str) -> bool:
    """It consists of nothing but sentences that Whisper is known to hear in silence."""
    if _bare(text) in HALLUCINATIONS:
        return True
    parts = {_bare(part) for part in SENTENCE_END.split(text)} - {""}
    return bool(parts) and parts <= HALLUCINATIONS


def compression_ratio(text: str) -> float:
    """How many times smaller zlib makes it; that of speech is below 2, short texts grow."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def unlooped(text: str) -> str:
    """The text with each phrase that is repeated over and over kept once, if it compresses too well."""
    while compression_ratio(text) > REPETITIVE:
        start, period, length = _longest_loop(text)
        if length < COPIES * period or not period:
            return text
        copies = length // period * period  # the beginning of a further copy may belong to what follows
        rest = text[start + copies :] if start + length < len(text) else ""
        text = (text[: start + period] + rest).strip()
    return text


def _longest_loop(text: str) -> tuple[int, int, int]:
    """Where the longest run of a repeated phrase begins, how long the phrase is, and how long the run; in characters.

    A run of period p is where every character is that of p before it.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    best = (0, 0, 0)
    for period in range(1, len(codes) // COPIES + 1):
        same = np.concatenate([[False], codes[period:] == codes[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            length = int(end - start) + period
            if length >= COPIES * period and length > best[2]:
                best = (int(start), period, length)
    return best
