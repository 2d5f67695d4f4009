"""The words that say whether an utterance is complete, for each language.

General knowledge of each language, not fitted to any recordings. Entries are separated by commas. `_` is a space, and
in front of an entry the beginning of a word; in English, French and Spanish every entry is whole words anyhow.
"""

import functools
import unicodedata
from dataclasses import dataclass, field
from enum import Enum


class Ending(Enum):
    """What the last words of an utterance say."""

    FILLER = "a sound of thinking"
    OPEN = "a word that needs another after it"
    STRANDED = "the same, unless in a question or a relative clause: 'who is it for', 'i know what it is'"
    WEAK = "a word that often has another after it"
    CLOSED = "a word that mostly stands last"


@functools.cache
def _entries(listed: str) -> tuple[str, ...]:
    return tuple(entry.strip().replace("_", " ") for entry in listed.split(",") if entry.strip())


@dataclass(frozen=True)
class Words:
    """The tables of one language. An ending counts by its longest entry: 'i think so' is closed, though 'so' is open.

    answers: complete when they are all there is.
    asks: at the beginning (in Chinese anywhere) they make a question.
    inverts: after the `asks`, where these only ask together with a verb: 'when will you', but not 'when you'.
    subordinates: at the beginning they announce a second clause. Not 'because', which also begins whole answers.
    digits: said one by one in a dictated number.
    dictates, codes: announce a long number (a telephone's), a short one (a code).
    """

    fillers: str
    open: str
    stranded: str
    weak: str
    closed: str
    answers: str
    asks: str
    inverts: str
    subordinates: str
    digits: str
    dictates: str
    codes: str
    spaced: bool = True
    """The language is written in words with spaces. Otherwise no space means anything."""
    suffixes: bool = False
    """Endings are parts of words."""
    endings: dict[str, Ending] = field(init=False, default_factory=dict)
    longest: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        begins = " " if self.spaced and not self.suffixes else ""
        for listed, kind in (
            (self.fillers, Ending.FILLER),
            (self.open, Ending.OPEN),
            (self.stranded, Ending.STRANDED),
            (self.weak, Ending.WEAK),
            (self.closed, Ending.CLOSED),
        ):
            for entry in _entries(listed):
                # Decomposed, an ending of Korean can begin in the middle of a written syllable.
                self.endings[unicodedata.normalize("NFD", begins + entry)] = kind
        object.__setattr__(self, "longest", max(map(len, self.endings)))

    def ending(self, text: str) -> Ending | None:
        """What `text`, in lower case and without punctuation, ends in."""
        tail = unicodedata.normalize("NFD", " " * self.spaced + text)[-self.longest :]
        return next((self.endings[tail[at:]] for at in range(len(tail)) if tail[at:] in self.endings), None)

    def listed(self, table: str) -> tuple[str, ...]:
        """The entries of one of the lists, for example `answers`."""
        return _entries(getattr(self, table))

    def begins(self, table: str, text: str) -> bool:
        """Whether `text` begins with an entry of one of the lists."""
        end = " " * self.spaced
        return any((text + end).startswith(entry + end) for entry in self.listed(table))

    def contains(self, table: str, text: str) -> bool:
        """Whether an entry of one of the lists is anywhere in `text`."""
        end = " " * (self.spaced and not self.suffixes)
        return any(end + entry + end in end + text + end for entry in self.listed(table))


ENGLISH = Words(
    fillers="""
        um, uh, uhm, er, erm, hm, hmm, mm, ah, eh, you know, i mean, let me see, let me think, well, kind of,
        sort of""",
    open="""
        and, or, but, because, 'cause, if, although, unless, until, whereas, than, whether, as, so, plus, then,
        also, a, an, the, my, your, our, their, its, every, each, another, very, quite, i, i'm, i've, i'll, i'd,
        you're, you've, you'll, we're, we've, we'll, they're, it's, that's, there's, let's, he's, she's, gonna,
        wanna, please tell me, tell me, give me, show me, send me, such as, for example, per, via, except, despite,
        including, onto, into, upon, among, between, during, mr, mrs, doctor, street number""",
    stranded="""
        of, to, from, with, without, for, at, by, about, against, towards, through, like, that, which, who, whose,
        when, where, what, how, why, am, is, are, was, were, be, been, being, have, has, had, do, does, did, will,
        would, shall, should, can, could, may, might, must, want, need""",
    weak="""
        in, on, under, near, after, before, while, since, this, these, those, his, her, some, any, more, not, just,
        only, we, they, he, she, twenty, thirty, forty, fifty, sixty, seventy, eighty, ninety, really, don't,
        didn't, can't, won't, isn't""",
    closed="""
        please, thanks, thank you, thank you very much, i think so, i hope so, i guess so, so so, too, as well,
        right, okay, bye, goodbye, again, today, tomorrow, tonight, yesterday, now, already, instead, anymore, yet,
        else, hold on, come on, go on, log in, come in, isn't it, aren't you, don't you, is it, are you, do you,
        or not, or so, this morning, this evening, in the morning, in the evening, at all, by the way, i do, i am,
        i have, i can, i will, i would, i did, it is, it was, it does, we do, we are, that's it, that's all,
        of course, time is it, like that, is that, is this, was that, about that, about it, about this, do that,
        do this, to do, one moment""",
    answers="""
        yes, no, yeah, yep, yup, nope, nah, sure, okay, ok, right, exactly, correct, absolutely, definitely,
        probably, maybe, perhaps, of course, not really, not yet, not now, never, nothing, no thanks, no thank you,
        yes please, thanks, thank you, hello, hi, hey, hello there, good morning, good evening, good afternoon,
        good night, bye, goodbye, bye bye, see you, stop, wait, cancel, help, never mind, i don't know,
        i don't think so, go ahead, that's right, all right, fine, sorry, yes i do, no i don't, yes i am, i do,
        i am, yes it is, no it isn't, very well, very much, what, why, who, when, where, how""",
    asks="what, where, who, whose, which, why, how, how much, how many, what's, where's, who's, how's",
    inverts="""
        when is, when are, when was, when will, when do, when does, when did, when can, when should, is it,
        is there, is this, is that, is the, is my, are you, are there, are we, are they, do you, do we, do i,
        do they, does it, does the, did you, did it, can you, can i, can we, could you, could i, would you,
        will you, will it, will there, should i, should we, shall we, may i, have you, has it, was it, were you,
        isn't it, don't you""",
    subordinates="""
        if, when, although, while, since, after, before, unless, once, whenever, even if, as soon as""",
    digits="zero, oh, one, two, three, four, five, six, seven, eight, nine, double, triple",
    dictates="""
        number is, number's, phone number, telephone number, mobile number, card number, account number, phone is,
        dial""",
    codes="code is, code, pin, pin is, postcode, zip code, extension, password",
)

FRENCH = Words(
    fillers="euh, heu, hum, hm, hmm, ben, bah, bon ben, voyons, comment dire, tu sais, vous savez, genre, enfin",
    open="""
        et, ou, mais, donc, or, car, parce que, parce qu', puisque, si, que, qu', lorsque, quand, comme, alors que,
        alors, puis, le, la, les, l', un, une, des, du, de, d', au, aux, à, mon, ma, mes, ton, ta, tes, son, ses,
        notre, votre, nos, vos, leur, leurs, ce, cet, cette, ces, chaque, plusieurs, quelques, je, j', tu, il, elle,
        on, ils, elles, c'est, c'était, il y a, est-ce que, est-ce qu', qui est, je suis, j'ai, je voudrais,
        j'aimerais, je veux, il faut, ne, n', se, s', me, m', te, dans, sur, pour, avec, sans, par, chez, vers,
        entre, depuis, pendant, sous, contre, très, trop, aussi bien, dont""",
    stranded="est, sont, était, a, ai, as, ont, avons, avez, suis, sera, peut, peux, doit, va, vais, veut, qui, où",
    weak="""
        vingt, trente, quarante, cinquante, soixante, plus, moins, aussi, peut-être, même, tout, toute, tous, pas,
        nous, vous, après, avant, jusque""",
    closed="""
        s'il vous plaît, s'il te plaît, merci, merci beaucoup, au revoir, d'accord, voilà, c'est tout, n'est-ce pas,
        aujourd'hui, demain, hier, maintenant, ce soir, ce matin, non plus, moi aussi, ou pas, hein, là, ici,
        je ne sais pas, et vous, et toi, allez-vous, avez-vous, êtes-vous, pouvez-vous, il y en a, est-il, est-elle,
        il est""",
    answers="""
        oui, non, ouais, si, d'accord, ok, okay, merci, non merci, oui merci, bien sûr, exactement, voilà, bonjour,
        bonsoir, salut, au revoir, peut-être, pas vraiment, pas encore, jamais, rien, je ne sais pas, je sais pas,
        stop, attendez, attends, c'est ça, très bien, parfait, ça va, pardon, allô, moi aussi, pourquoi, quoi,
        comment, quand, où, qui""",
    asks="""
        est-ce que, est-ce qu'il, est-ce qu'on, qu'est-ce que, qu'est-ce qui, qu'est-ce qu'il, comment, pourquoi,
        combien, où, quel, quelle, quels, quelles, quand est-ce, à quelle heure, de quelle""",
    inverts="""
        pouvez-vous, peux-tu, avez-vous, êtes-vous, voulez-vous, est-il, est-elle, y a-t-il, quand est, puis-je,
        pourriez-vous""",
    subordinates="si, quand, lorsque, comme, bien que, après que, dès que, pendant que",
    digits="zéro, un, deux, trois, quatre, cinq, six, sept, huit, neuf",
    dictates="""
        numéro est, numéro c'est, numéro de téléphone, numéro de carte, numéro de compte, téléphone est,
        c'est le zéro""",
    codes="code, code postal, mot de passe, code est",
)

SPANISH = Words(
    fillers="eh, em, ehm, este, pues, mm, hm, hmm, o sea, bueno pues, a ver, digamos, cómo se dice, cómo decirlo",
    open="""
        y, e, o, u, pero, sino, porque, que, si, cuando, mientras, aunque, como, donde, así que, entonces, además,
        pues, el, la, los, las, un, una, unos, unas, lo, mi, mis, tu, tus, su, sus, nuestro, nuestra, cada, algún,
        ningún, este, esta, ese, de, del, a, al, en, con, sin, por, para, hacia, hasta, desde, entre, según, sobre,
        contra, durante, muy, tan, yo, es que, hay que, tengo que, quiero, quisiera, me gustaría, necesito, voy a,
        vamos a, se, me, te, le, les, nos""",
    stranded="""
        es, son, era, está, están, estoy, soy, ha, he, han, hay, puede, puedo, debe, tiene, tengo, qué, quién, cuál,
        dónde, cuándo""",
    weak="""
        veinte, treinta, cuarenta, cincuenta, sesenta, setenta, ochenta, noventa, más, menos, también, quizás, no,
        todo, toda, otro, otra, él, ella, ellos, nosotros, antes, después""",
    closed="""
        por favor, gracias, muchas gracias, adiós, hasta luego, hasta mañana, verdad, no es así, vale, de acuerdo,
        hoy, mañana, ayer, ahora, esta noche, esta tarde, esta mañana, también yo, yo también, a mí también,
        eso es todo, nada más, claro, o no, y tú, y usted, creo que sí, creo que no, no lo sé, no sé, aquí, allí,
        ya está, lo que es, hora es, hora son, cómo es, cómo está, cómo estás, dónde está, quién es, qué es, eso es,
        no hay""",
    answers="""
        sí, si, no, claro, vale, ok, okay, bueno, gracias, no gracias, sí por favor, sí gracias, por supuesto,
        exacto, exactamente, hola, buenos días, buenas tardes, buenas noches, buenas, adiós, hasta luego, quizás,
        tal vez, nunca, nada, todavía no, no lo sé, no sé, espera, espere, de acuerdo, está bien, muy bien,
        perfecto, perdón, yo también, qué, cómo, cuándo, dónde, quién, por qué""",
    asks="""
        qué, cómo, cuándo, dónde, cuál, cuáles, quién, quiénes, cuánto, cuánta, cuántos, cuántas, por qué,
        a qué hora, de dónde, para qué""",
    inverts="puedes, puede, podría, podrías, tienes, tiene, hay, sabes, quieres, es posible",
    subordinates="si, cuando, aunque, mientras, como, después de que, antes de que, en cuanto",
    digits="cero, uno, dos, tres, cuatro, cinco, seis, siete, ocho, nueve",
    dictates="número es, número de teléfono, número de tarjeta, número de cuenta, teléfono es, marca el",
    codes="código, código es, código postal, contraseña, clave",
)

CHINESE = Words(
    fillers="""
        嗯, 呃, 额, 唔, 哦, 那个, 那個, 这个, 這個, 就是, 就是说, 怎么说, 怎麼說, 我想想, 让我想想, 比如说, 比如""",
    open="""
        因为, 因為, 但是, 可是, 不过, 不過, 然后, 然後, 所以, 如果, 要是, 而且, 或者, 还是, 還是, 和, 跟, 与, 以及,
        虽然, 雖然, 并且, 还有, 還有, 另外, 除了, 为了, 為了, 关于, 關於, 对于, 在, 从, 從, 到, 把, 被, 给, 給, 对,
        向, 往, 比, 是, 有, 要, 想, 想要, 需要, 可以, 能, 会, 會, 应该, 應該, 一个, 一個, 这, 這, 那, 很, 非常, 最,
        更, 也, 都, 就, 又, 再, 才, 正在, 我的, 你的, 他的, 的时候, 的話, 的话, 请, 請, 帮我, 幫我, 告诉我, 给我,
        第, 每, 地, 得""",
    stranded="",
    weak="""
        我, 你, 他, 她, 我们, 你们, 他们, 的, 说, 說, 觉得, 觉的, 上, 下, 里, 里面, 以后, 以前, 之后, 之前, 点, 十,
        百""",
    closed="""
        吗, 嗎, 吧, 呢, 了, 啊, 呀, 啦, 嘛, 谢谢, 謝謝, 再见, 再見, 好的, 是的, 对的, 可以吗, 好不好, 是不是,
        对不对, 什么, 什麼, 哪里, 哪儿, 多少, 几点, 怎么样, 怎么办, 为什么, 是谁, 一下, 这个吗, 不会, 不能, 没有,
        沒有, 知道, 喜欢, 喜歡, 今天, 明天, 现在, 天气, 时候, 谢谢你, 不可以, 不要, 不想, 不是, 不对, 我也是, 给你,
        我爱你, 找你, 感谢你""",
    answers="""
        是, 是的, 对, 對, 对的, 好, 好的, 行, 可以, 不, 不是, 不对, 不要, 不用, 不用了, 没有, 沒有, 有, 嗯嗯, 你好,
        您好, 喂, 谢谢, 謝謝, 不客气, 再见, 再見, 早上好, 晚上好, 晚安, 停, 等一下, 当然, 當然, 也许, 可能, 不知道,
        我不知道, 没关系, 对不起, 没问题, 要, 会, 什么, 为什么, 算了""",
    asks="""
        什么, 什麼, 怎么, 怎麼, 为什么, 為什麼, 哪里, 哪儿, 哪个, 谁, 誰, 多少, 几点, 几个, 吗, 嗎, 是不是, 能不能,
        可不可以, 有没有""",
    inverts="",
    subordinates="如果, 虽然, 雖然, 要是, 既然, 只要, 除非, 为了, 当",
    digits="零, 〇, 一, 二, 三, 四, 五, 六, 七, 八, 九, 幺, 两",
    dictates="号码是, 號碼是, 电话是, 電話是, 号码, 號碼, 手机号, 卡号, 账号",
    codes="验证码, 密码, 邮编, 代码, 分机",
    spaced=False,
)

JAPANESE = Words(
    fillers="""
        えーと, えーっと, えっと, ええと, えと, えー, あー, あのー, あの, そのー, うーん, んー, んーと, まあ, まぁ,
        なんか, なんていうか, そうですね, ええっと, 何て言うか, ちょっと""",
    open="""
        が, を, に, で, と, も, へ, は, から, まで, より, ので, のに, けど, けれど, けれども, し, て, って, たら,
        なら, ば, ながら, たり, とか, や, だから, それで, そして, それから, でも, しかし, または, あるいは, もし,
        例えば, たとえば, という, ために, ように, については, について, この, その, どの, とても, ですが, ますが,
        だが, なので, ですので, ますので, ですけど, ますけど, んですが, んだけど, んですけど, 私の, 僕の, および,
        なんですが, ほど, だけ, だし""",
    stranded="",
    weak="の, こと, とき, 時, る, い, う, く, な, して, 聞いて, 番, 十, 百",
    closed="""
        です, ます, でした, ました, ません, ませんか, ですか, ますか, ましょう, ましょうか, ください, 下さい, か,
        ね, よ, よね, わ, ぞ, かな, だ, だよ, だね, た, ない, たい, でしょう, でしょうか, だろう, なさい,
        ありがとう, ありがとうございます, お願い, おねがい, どうぞ, さい, のです, んです, んだ, 教えて, おしえて,
        待って, まって, 見せて, 止めて, やめて, 助けて, こんにちは, こんばんは, じゃあね, またね, いい, 何ですか,
        なに, 何, どこ, いつ, いくら, いくつ, だれ, 誰, 大丈夫""",
    answers="""
        はい, いいえ, いえ, うん, ううん, ええ, そう, そうです, そうですね, 違います, ちがいます, 了解,
        わかりました, 分かりました, わからない, 分からない, 結構です, いいです, だめ, こんにちは, こんばんは,
        おはよう, おはようございます, もしもし, ありがとう, どうも, すみません, ごめんなさい, さようなら, またね,
        もちろん, たぶん, 多分, 止めて, 待って, ちょっと待って, 大丈夫です, 大丈夫, お願いします, 何, なに, なぜ""",
    asks="",
    inverts="",
    subordinates="もし",
    digits="零, 〇, 一, 二, 三, 四, 五, 六, 七, 八, 九, ゼロ, いち, さん, よん, ご, ろく, なな, はち, きゅう",
    dictates="番号は, 電話番号, 電話は, カード番号, 口座番号, 番号が",
    codes="暗証番号, パスワード, 郵便番号, コード, 内線",
    spaced=False,
)

KOREAN = Words(
    fillers="""
        _음, _어, _에, _그, _저, _저기, _뭐, _뭐랄까, _뭐라고 하지, _그니까, _그러니까, _막, _이제, _있잖아, _글쎄,
        _아""",
    open="""
        은, 는, 이, 가, 을, 를, 에, 에서, 에게, 한테, 로, 와, 과, 하고, 랑, 의, 도, 만, 부터, 까지, 보다, 처럼,
        마다, 고, 서, 면, 니까, 지만, 거나, 려고, 러, 면서, 도록, 다가, 라서, 는데, 은데, ᆫ데, 인데, 라고, 다고,
        자마자, 든지, _그리고, _그래서, _그런데, _근데, _하지만, _그러면, _왜냐하면, _만약, _만약에, _혹시,
        _예를 들어, _또는, _아니면, _또, _제, _내, _저의, _이, _그, _저, _아주, _매우, _너무, _좀, _한, _두, _세,
        위해, 대해, 대해서, 때문에""",
    stranded="",
    weak="_것, _때, 게, 기, ᆫ, ᆯ, _십, _백",
    closed="""
        요, 다, ᆸ니까, 까, 죠, 지, 네, 냐, 세요, 니다, 야, 줘, 자, 어, 아, 해, 돼, 래, 걸, 거든, 는데요, 거든요,
        니까요, 고요, 서요, 구나, 군, 나요, 은가요, _안녕, 감사합니다, 고마워, _있니, 하니, 뭐니, 맞니, _어디,
        _언제, _뭐야, _누구, _왜, _얼마""",
    answers="""
        네, 예, 응, 아니요, 아니오, 아니, 아뇨, 맞아요, 맞습니다, 그래, 그래요, 좋아, 좋아요, 싫어요, 괜찮아요,
        됐어요, 안녕, 안녕하세요, 여보세요, 감사합니다, 고마워요, 고맙습니다, 안녕히 계세요, 물론이죠, 아마도,
        몰라요, 모르겠어요, 잠깐만요, 잠깐만, 그만, 멈춰, 뭐, 왜, 죄송합니다, 미안해요, 알겠습니다, 알겠어요, 저도요""",
    asks="",
    inverts="",
    subordinates="만약, 만약에",
    digits="공, 영, 일, 이, 삼, 사, 오, 육, 칠, 팔, 구",
    dictates="번호는, 전화번호, 전화는, 카드번호, 카드 번호, 계좌번호, 계좌 번호",
    codes="비밀번호, 인증번호, 우편번호, 코드, 내선",
    suffixes=True,
)

LANGUAGES = {"en": ENGLISH, "fr": FRENCH, "es": SPANISH, "zh": CHINESE, "ja": JAPANESE, "ko": KOREAN}
