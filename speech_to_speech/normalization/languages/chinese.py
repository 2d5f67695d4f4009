"""Chinese (Mandarin, in either script)."""

import re

from speech_to_speech.normalization.language import Language, Noun, table
from speech_to_speech.normalization.numerals import Number, spell
from speech_to_speech.normalization.tracked import Tracked

YEAR = re.compile(r"(?<![\d.,])((?:1\d|20)\d\d)(?=\s?年)")
# Before a measure word two is 两.
TWO = re.compile(
    r"(?<![\d.,第:/])2(?=\s?(?:[个個位天周点點块塊元本只隻条條件张張杯斤米千百万萬亿億种種岁歲人倍台辆輛家座名把支瓶碗口双雙套间間句层層"
    r"场場首颗顆棵头頭匹份遍门門部架艘段步片排群对對项項半者国國秒]|年(?![级級代])|次(?!元)|小时|小時|分钟|分鐘|公里|公斤|公尺|星期|礼拜|禮拜))"
)
FROM_HUNDRED = "spellout-cardinal-alternate2"


class Chinese(Language):
    code = "zh"
    spaced = False
    stop = "。"
    comma = "，"
    rules = "spellout-cardinal"
    counting_rules = (FROM_HUNDRED, FROM_HUNDRED)
    minus = "负"
    below_zero = "零下"
    to = "到"
    ratio = "比"
    by = "乘"
    over = "比"
    per = "每"
    about = "约"
    number_sign = "第"
    dot = "点"
    dash = "杠"
    underscore = "下划线"
    at = "艾特"
    percent = "百分之"
    points = table(".: 点")
    day_first = False
    units = table("""
        km: 公里; m: 米; cm: 厘米; mm: 毫米; µm: 微米; nm: 纳米; kg: 公斤; g: 克; mg: 毫克; t: 吨; lb: 磅
        oz: 盎司; l: 升; L: 升; ml: 毫升; mL: 毫升; m²: 平方米; m2: 平方米; km²: 平方公里; km2: 平方公里
        cm²: 平方厘米; m³: 立方米; m3: 立方米; ha: 公顷; °C: 摄氏度; °F: 华氏度; °: 度; h: 小时; min: 分钟
        s: 秒; ms: 毫秒; km/h: 每小时{}公里; m/s: 每秒{}米; mph: 每小时{}英里; KB: 千字节; kB: 千字节
        MB: 兆字节; GB: 吉字节; TB: 太字节; Mbps: 兆比特每秒; Hz: 赫兹; kHz: 千赫; MHz: 兆赫; GHz: 吉赫; W: 瓦
        kW: 千瓦; MW: 兆瓦; kWh: 千瓦时; V: 伏; mAh: 毫安时; dB: 分贝; hPa: 百帕; kPa: 千帕; J: 焦耳; kJ: 千焦
        kcal: 千卡; cal: 卡; px: 像素; ft: 英尺; in: 英寸; mi: 英里; ‰: 千分之{}; Ω: 欧姆
    """)
    currencies = table("""
        $: 美元; US$: 美元; €: 欧元; £: 英镑; ¥: 元; ￥: 元; ₩: 韩元; ₹: 卢比; ₽: 卢布; ₿: 比特币; HK$: 港元
        NT$: 新台币; USD: 美元; EUR: 欧元; GBP: 英镑; JPY: 日元; CNY: 元; RMB: 元; KRW: 韩元; HKD: 港元
        TWD: 新台币
    """)
    magnitudes = table("""
        千: 千; 万: 万; 萬: 萬; 百万: 百万; 千万: 千万; 亿: 亿; 億: 億; 万亿: 万亿; million: 百万; billion: 十亿
        M: 百万; B: 十亿; k: 千; K: 千
    """)
    signs = table("""
        &: 和; +: 加; =: 等于; @: 艾特; %: 百分之; °: 度; <: 小于; >: 大于; ≤: 小于等于; ≥: 大于等于; ≠: 不等于
        ≈: 约等于; ±: 正负; ×: 乘以; *: 乘以; ÷: 除以; −: 减; ∞: 无穷; $: 美元; €: 欧元; £: 英镑; ¥: 元
        √: 根号; ²: 平方; ³: 立方; ^: 的; ‰: 千分之
    """)
    maths = table("frac: 比; sqrt: 根号; sum: 求和; int: 积分")
    abbreviations = table("""
        etc.: 等等; e.g.: 例如; i.e.: 也就是; vs.: 对; vs: 对; No.: 第; Dr.: 博士; Mr.: 先生; C#: C sharp
    """)

    def cardinal(self, number: int) -> str:
        return spell("zh", number, FROM_HUNDRED if number >= 100 else self.rules)

    def percentage(self, words: str) -> str:
        if words.startswith(self.minus):
            return f"{self.minus}百分之{words.removeprefix(self.minus)}"
        return f"百分之{words}"

    def power(self, exponent: str) -> str:
        return f"的{exponent}次方"

    def fraction(self, above: int, below: int) -> str:
        return f"{self.cardinal(below)}分之{self.cardinal(above)}"

    def mixed(self, whole: int, above: int, below: int) -> str:
        return f"{self.cardinal(whole)}又{self.fraction(above, below)}"

    def clock(self, hour: int, minute: int, second: int | None, half: str) -> str:
        words = {"a": "上午", "p": "下午"}.get(half, "") + self.counted(hour) + "点"
        if minute or second:
            words += f"{'零' if minute < 10 else ''}{self.cardinal(minute) if minute else ''}分"
        return words + (f"{self.cardinal(second)}秒" if second else "")

    def date(self, year: int | None, month: int, day: int | None) -> str:
        words = f"{self.digits(str(year))}年" if year is not None else ""
        return f"{words}{self.cardinal(month)}月" + (f"{self.cardinal(day)}日" if day else "")

    def of(self, noun: Noun) -> str:
        return noun.many

    def say(self, number: Number, noun: Noun | None = None) -> str:
        if noun is not None and number.is_whole and number.value != 2:
            noun = None
        return super().say(number, noun)

    def before_numbers(self, tracked: Tracked) -> None:
        tracked.sub(YEAR, lambda match: self.digits(match[0]))
        tracked.sub(TWO, "两")
