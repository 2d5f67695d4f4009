"""Text normalisation: what a language model writes becomes what a voice can say, in the reply's language.

`normalizer.Normalizer` is the way in. Its parts, in the order in which they work on a piece:

    characters      what can't be seen, forms of compatibility, emoji
    blocks          of Markdown and HTML: code, lists, headings, tables
    maths           LaTeX and powers
    inline, links   links, tags, emphasis, code; URLs and e-mail addresses
    abbreviations   and Roman numerals
    quantities      dates, times and other numbers; `amounts`: money, shares, units
    symbols         what is left

`languages` has the words and the grammar of numbers of each language, `numerals` the numbers themselves, and `tracked`
the text that knows where it came from.
"""
