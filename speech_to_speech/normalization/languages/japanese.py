"""Japanese: numbers in kanji, since how they are read depends on the counter behind them, and voices know that."""

import re
from typing import Any

from speech_to_speech.normalization.language import Language, table
from speech_to_speech.normalization.numerals import Number, spell
from speech_to_speech.normalization.tracked import Tracked

# Ten minutes in kanji are also the word for enough.
TENS_OF_MINUTES = re.compile(r"(?<![\d.,])([1-9]0)\s?分(?![のかけ割野析類布解子散岐担])")


class Japanese(Language):
    code = "ja"
    spaced = False
    stop = "。"
    comma = "、"
    rules = "spellout-cardinal"
    minus = "マイナス"
    to = "から"
    ratio = "対"
    by = "かける"
    over = "対"
    per = "毎"
    about = "約"
    number_sign = "ナンバー"
    dot = "ドット"
    dash = "ハイフン"
    underscore = "アンダーバー"
    at = "アットマーク"
    percent = "パーセント"
    points = table(".: 点")
    day_first = False
    units = table("""
        km: キロメートル; m: メートル; cm: センチメートル; mm: ミリメートル; µm: マイクロメートル
        nm: ナノメートル; kg: キログラム; g: グラム; mg: ミリグラム; t: トン; lb: ポンド; oz: オンス
        l: リットル; L: リットル; ml: ミリリットル; mL: ミリリットル; m²: 平方メートル; m2: 平方メートル
        km²: 平方キロメートル; km2: 平方キロメートル; cm²: 平方センチメートル; m³: 立方メートル
        m3: 立方メートル; ha: ヘクタール; °C: 度; °F: 華氏{}度; °: 度; h: 時間; s: 秒; ms: ミリ秒
        km/h: 時速{}キロメートル; m/s: 秒速{}メートル; mph: 時速{}マイル; KB: キロバイト; kB: キロバイト
        MB: メガバイト; GB: ギガバイト; TB: テラバイト; Mbps: メガビーピーエス; Hz: ヘルツ; kHz: キロヘルツ
        MHz: メガヘルツ; GHz: ギガヘルツ; W: ワット; kW: キロワット; MW: メガワット; kWh: キロワット時
        V: ボルト; mAh: ミリアンペア時; dB: デシベル; hPa: ヘクトパスカル; kPa: キロパスカル; J: ジュール
        kJ: キロジュール; kcal: キロカロリー; px: ピクセル; ft: フィート; in: インチ; mi: マイル; ‰: パーミル; Ω: オーム
    """)
    currencies = table("""
        $: ドル; US$: 米ドル; €: ユーロ; £: ポンド; ¥: 円; ￥: 円; ₩: ウォン; ₹: ルピー; ₽: ルーブル
        ₿: ビットコイン; USD: ドル; EUR: ユーロ; GBP: ポンド; JPY: 円; CNY: 元; KRW: ウォン
    """)
    magnitudes = table(
        "千: 千; 万: 万; 百万: 百万; 億: 億; 兆: 兆; million: 百万; billion: 十億; M: 百万; B: 十億; k: 千; K: 千"
    )
    signs = table("""
        &: アンド; +: プラス; =: イコール; @: アットマーク; %: パーセント; °: 度; <: 小なり; >: 大なり
        ≤: 小なりイコール; ≥: 大なりイコール; ≠: ノットイコール; ≈: ほぼ等しい; ±: プラスマイナス; ×: かける
        *: かける; ÷: 割る; −: マイナス; ∞: 無限大; $: ドル; €: ユーロ; £: ポンド; ¥: 円; √: ルート
        ²: の二乗; ³: の三乗; ^: の; ‰: パーミル
    """)
    maths = table("frac: 割る; sqrt: ルート; sum: 総和; int: 積分")
    abbreviations = table("etc.: など; e.g.: 例えば; i.e.: つまり; vs.: 対; vs: 対; No.: ナンバー; C#: Cシャープ")

    def cardinal(self, number: int) -> str:
        return spell("ja", number, self.rules) if number else "ゼロ"

    def decimals(self, number: Number) -> str:
        words = super().decimals(number)
        return words.replace("ゼロ", "零", 1) if not number.value else words

    def power(self, exponent: str) -> str:
        return f"の{exponent}乗"

    def fraction(self, above: int, below: int) -> str:
        return f"{self.cardinal(below)}分の{self.cardinal(above)}"

    def mixed(self, whole: int, above: int, below: int) -> str:
        return f"{self.cardinal(whole)}と{self.fraction(above, below)}"

    def clock(self, hour: int, minute: int, second: int | None, half: str) -> str:
        words = {"a": "午前", "p": "午後"}.get(half, "") + f"{self.cardinal(hour)}時"
        if minute or second:
            words += self._minutes(minute)
        return words + (f"{self.cardinal(second)}秒" if second else "")

    def _minutes(self, minutes: int) -> str:
        if minutes == 0 or minutes % 10:
            return f"{self.cardinal(minutes)}分"
        return ("", "に", "さん", "よん", "ご", "ろく", "なな", "はち", "きゅう")[minutes // 10 - 1] + "じゅっぷん"

    def date(self, year: int | None, month: int, day: int | None) -> str:
        words = f"{self.cardinal(year)}年" if year is not None else ""
        return f"{words}{self.cardinal(month)}月" + (f"{self.cardinal(day)}日" if day else "")

    def before_numbers(self, tracked: Tracked) -> None:
        tracked.sub(TENS_OF_MINUTES, self._tens)

    def _tens(self, match: Any) -> str:
        return self._minutes(int(match[1]))
