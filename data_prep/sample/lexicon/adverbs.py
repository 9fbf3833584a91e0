"""Adverbs and other fixed adverbials: English | German, by their place in the clause."""

from __future__ import annotations

Pair = tuple[str, str]


def _pairs(table: str) -> tuple[Pair, ...]:
    rows = (line.split("|") for line in table.strip().split("\n"))
    return tuple((english.strip(), german.strip()) for english, german in rows)


PAST_TIMES: tuple[Pair, ...] = _pairs("""
yesterday | gestern
last week | letzte Woche
last year | letztes Jahr
last night | letzte Nacht
this morning | heute Morgen
the day before yesterday | vorgestern
""")

PRESENT_TIMES: tuple[Pair, ...] = _pairs("""
today | heute
now | jetzt
every day | jeden Tag
every morning | jeden Morgen
every week | jede Woche
at the moment | im Moment
these days | heutzutage
""")

FUTURE_TIMES: tuple[Pair, ...] = _pairs("""
tomorrow | morgen
next week | nächste Woche
next year | nächstes Jahr
the day after tomorrow | übermorgen
soon | bald
""")

ANY_TIMES: tuple[Pair, ...] = _pairs("""
in the morning | am Morgen
in the afternoon | am Nachmittag
in the evening | am Abend
at night | in der Nacht
at noon | am Mittag
at midnight | um Mitternacht
in summer | im Sommer
in winter | im Winter
in autumn | im Herbst
in spring | im Frühling
at the weekend | am Wochenende
at Christmas | an Weihnachten
""")

FREQUENCIES: tuple[Pair, ...] = _pairs("""
often | oft
always | immer
sometimes | manchmal
usually | meistens
rarely | selten
""")

PERFECT_ADVERBS: tuple[Pair, ...] = _pairs("""
already | bereits
finally | endlich
just | gerade
""")

MANNERS: tuple[Pair, ...] = _pairs("""
slowly | langsam
quickly | schnell
carefully | vorsichtig
quietly | leise
secretly | heimlich
with great care | mit großer Sorgfalt
with great pleasure | mit großem Vergnügen
in a hurry | in Eile
without any help | ohne jede Hilfe
""")

# Sentence adverbs and connectives that stand first: German inverts after them.
OPENERS: tuple[Pair, ...] = _pairs("""
unfortunately | leider
fortunately | glücklicherweise
perhaps | vielleicht
therefore | deshalb
suddenly | plötzlich
then | dann
after that | danach
of course | natürlich
apparently | offenbar
nevertheless | trotzdem
a little later | kurz darauf
in the end | schließlich
at first | zuerst
for this reason | aus diesem Grund
""")

PAST_OPENERS: frozenset[str] = frozenset({"suddenly", "a little later", "in the end", "at first"})
