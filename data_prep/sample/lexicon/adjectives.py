"""Adjectives: English | German[/stem before endings] | kinds of noun they go with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Adjective:
    """`german` is the predicative form, `stem` what endings are added to (teuer, teur-)."""

    english: str
    german: str
    stem: str
    kinds: frozenset[str]


_GROUPS = {
    "people": "man woman",
    "living": "man woman animal",
    "goods": "object vessel furniture machine vehicle clothing",
    "places": "building room part",
    "solid": "object vessel furniture machine vehicle clothing building room part",
    "ideas": "abstract plan problem event",
    "size": "object vessel furniture machine vehicle building room animal food",
}

_TABLE = """
old | alt | living solid text
new | neu | solid text ideas
young | jung | living
big | groß | size clothing
small | klein | size clothing
beautiful | schön | solid woman animal text
ugly | hässlich | solid animal
tall | groß | man woman
expensive | teuer/teur | goods food building
cheap | billig | goods food
heavy | schwer | object vessel furniture machine
light | leicht | object vessel clothing
dirty | schmutzig | goods room animal
clean | sauber | goods room
broken | kaputt | machine vehicle object furniture
dark | dunkel/dunkl | room building clothing
bright | hell | room
tall | hoch/hoh | building
empty | leer | building room vehicle
modern | modern | building machine furniture room
famous | berühmt | man woman building text
friendly | freundlich | people animal
polite | höflich | people
honest | ehrlich | people
tired | müde | living
hungry | hungrig | living
thirsty | durstig | living
sick | krank | living
healthy | gesund | living
happy | glücklich | people
sad | traurig | people
angry | wütend | living
strong | stark | living
weak | schwach | living
clever | klug | living
lazy | faul | living
hard-working | fleißig | people
brave | mutig | living
nervous | nervös | living
patient | geduldig | people
curious | neugierig | living
rich | reich | people
poor | arm | people
careful | vorsichtig | people
dangerous | gefährlich | animal machine ideas
wild | wild | animal
tame | zahm | animal
fat | dick | animal
fast | schnell | vehicle animal machine
slow | langsam | vehicle animal machine
loud | laut | machine vehicle animal
quiet | leise | machine vehicle
useful | nützlich | object vessel machine text ideas
useless | nutzlos | object vessel machine text ideas
practical | praktisch | goods ideas
red | rot | object vessel furniture vehicle clothing
blue | blau | object vessel furniture vehicle clothing
green | grün | object vessel furniture vehicle clothing
yellow | gelb | object vessel furniture vehicle clothing
black | schwarz | object vessel furniture vehicle clothing animal
white | weiß | object vessel furniture vehicle clothing animal building
brown | braun | furniture clothing animal
grey | grau | furniture clothing animal building
warm | warm | clothing food room
cold | kalt | food room
fresh | frisch | food
sweet | süß | food
sour | sauer/saur | food
tasty | lecker | food
hot | heiß | food
long | lang | text clothing
short | kurz | text clothing
interesting | interessant | text ideas building
boring | langweilig | text ideas
important | wichtig | text ideas
exciting | spannend | text
funny | lustig | text people
secret | geheim | text plan
difficult | schwierig | ideas text
simple | einfach | ideas text machine
complicated | kompliziert | ideas machine text
dubious | zweifelhaft | abstract plan
surprising | überraschend | ideas
wrong | falsch | abstract
strange | seltsam | people animal text ideas object
valuable | wertvoll | object vessel furniture text
elegant | elegant | clothing furniture woman
comfortable | bequem | furniture clothing
round | rund | vessel
narrow | eng | room clothing
famous | berühmt | people
"""


def _kinds(names: str) -> frozenset[str]:
    return frozenset(kind for name in names.split() for kind in _GROUPS.get(name, name).split())


def _parse(table: str) -> tuple[Adjective, ...]:
    found: dict[tuple[str, str], frozenset[str]] = {}
    for line in table.strip().split("\n"):
        english, german, kinds = (field.strip() for field in line.split("|"))
        key = (english, german)
        found[key] = found.get(key, frozenset()) | _kinds(kinds)
    return tuple(
        Adjective(english, german.split("/")[0], german.split("/")[-1].removesuffix("e"), kinds)
        for (english, german), kinds in found.items()
    )


ADJECTIVES: tuple[Adjective, ...] = _parse(_TABLE)
BY_ENGLISH: dict[str, Adjective] = {adjective.english: adjective for adjective in ADJECTIVES}
BY_KIND: dict[str, tuple[Adjective, ...]] = {
    kind: tuple(adjective for adjective in ADJECTIVES if kind in adjective.kinds)
    for kind in sorted({kind for adjective in ADJECTIVES for kind in adjective.kinds})
}

COLOURS = frozenset(("red", "blue", "green", "yellow", "black", "white", "brown", "grey"))

_OPPOSITES = """
old new
old young
old modern
big small
heavy light
dirty clean
dark bright
strong weak
rich poor
happy sad
sick healthy
wild tame
fast slow
loud quiet
useful useless
warm cold
cold hot
warm hot
sweet sour
long short
interesting boring
boring exciting
difficult simple
simple complicated
beautiful ugly
expensive cheap
lazy hard-working
practical useless
careful brave
"""
OPPOSITES = frozenset(frozenset(line.split()) for line in _OPPOSITES.strip().split("\n"))

DEGREES: tuple[tuple[str, str], ...] = (
    ("very", "sehr"),
    ("quite", "ziemlich"),
    ("too", "zu"),
    ("really", "wirklich"),
    ("rather", "recht"),
    ("unusually", "ungewöhnlich"),
)
