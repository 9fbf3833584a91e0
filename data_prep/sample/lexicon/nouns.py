"""The nouns of the sample language, with everything German needs to inflect them.

Each line of a table reads

    English[/irregular plural] | German | gender | German plural | genitive ending | compound stem

`gender` is m, f or n.  A genitive ending followed by ``!`` marks the n-declension: the ending is
then worn by every singular case but the nominative.  The compound stem, where there is one, is the
form the noun takes as the first part of a compound (Küche, Küchentisch).
"""

from __future__ import annotations

from dataclasses import dataclass

PERSON_KINDS = ("man", "woman")
KIN = frozenset(
    ("Bruder", "Vater", "Sohn", "Onkel", "Großvater")
    + ("Mutter", "Schwester", "Tochter", "Tante", "Großmutter", "Nichte")
)


@dataclass(frozen=True, slots=True)
class Noun:
    """A pair of English and German nouns.

    `kind` is the semantic class that verbs and adjectives select; `head` is the German noun that
    decides gender and combinations (itself, unless the noun is a compound).
    """

    english: str
    english_plural: str
    german: str
    gender: str
    german_plural: str
    genitive: str
    weak: bool
    kind: str
    compound: str
    head: str

    @property
    def is_person(self) -> bool:
        return self.kind in PERSON_KINDS


_MEN = """
man/men | Mann | m | Männer | es
teacher | Lehrer | m | Lehrer | s
doctor | Arzt | m | Ärzte | es
neighbour | Nachbar | m | Nachbarn | n!
student | Student | m | Studenten | en!
boy | Junge | m | Jungen | n!
farmer | Bauer | m | Bauern | n!
baker | Bäcker | m | Bäcker | s
judge | Richter | m | Richter | s
policeman/policemen | Polizist | m | Polizisten | en!
journalist | Journalist | m | Journalisten | en!
president | Präsident | m | Präsidenten | en!
colleague | Kollege | m | Kollegen | n!
customer | Kunde | m | Kunden | n!
witness | Zeuge | m | Zeugen | n!
photographer | Fotograf | m | Fotografen | en!
brother | Bruder | m | Brüder | s
father | Vater | m | Väter | s
son | Sohn | m | Söhne | es
uncle | Onkel | m | Onkel | s
grandfather | Großvater | m | Großväter | s
gardener | Gärtner | m | Gärtner | s
engineer | Ingenieur | m | Ingenieure | s
king | König | m | Könige | s
waiter | Kellner | m | Kellner | s
mayor | Bürgermeister | m | Bürgermeister | s
captain | Kapitän | m | Kapitäne | s
tailor | Schneider | m | Schneider | s
carpenter | Tischler | m | Tischler | s
prince | Prinz | m | Prinzen | en!
"""

_WOMEN = """
woman/women | Frau | f | Frauen |
mother | Mutter | f | Mütter |
sister | Schwester | f | Schwestern |
daughter | Tochter | f | Töchter |
aunt | Tante | f | Tanten |
grandmother | Großmutter | f | Großmütter |
niece | Nichte | f | Nichten |
lady | Dame | f | Damen |
queen | Königin | f | Königinnen |
princess | Prinzessin | f | Prinzessinnen |
nurse | Krankenschwester | f | Krankenschwestern |
actress | Schauspielerin | f | Schauspielerinnen |
waitress | Kellnerin | f | Kellnerinnen |
landlady | Vermieterin | f | Vermieterinnen |
widow | Witwe | f | Witwen |
girl | Mädchen | n | Mädchen | s
"""

_ANIMALS = """
dog | Hund | m | Hunde | es
bird | Vogel | m | Vögel | s
crab | Krebs | m | Krebse | es
donkey | Esel | m | Esel | s
monkey | Affe | m | Affen | n!
bear | Bär | m | Bären | en!
lion | Löwe | m | Löwen | n!
elephant | Elefant | m | Elefanten | en!
fox | Fuchs | m | Füchse | es
wolf/wolves | Wolf | m | Wölfe | es
cat | Katze | f | Katzen |
cow | Kuh | f | Kühe |
mouse/mice | Maus | f | Mäuse |
goat | Ziege | f | Ziegen |
duck | Ente | f | Enten |
snake | Schlange | f | Schlangen |
pigeon | Taube | f | Tauben |
goose/geese | Gans | f | Gänse |
tortoise | Schildkröte | f | Schildkröten |
horse | Pferd | n | Pferde | es
lamb | Lamm | n | Lämmer | es
pig | Schwein | n | Schweine | es
chicken | Huhn | n | Hühner | s
rabbit | Kaninchen | n | Kaninchen | s
camel | Kamel | n | Kamele | s
foal | Fohlen | n | Fohlen | s
crocodile | Krokodil | n | Krokodile | s
calf/calves | Kalb | n | Kälber | es
"""

_OBJECTS = """
carpet | Teppich | m | Teppiche | s
mirror | Spiegel | m | Spiegel | s
key | Schlüssel | m | Schlüssel | s
ball | Ball | m | Bälle | es
hammer | Hammer | m | Hämmer | s
spoon | Löffel | m | Löffel | s
umbrella | Regenschirm | m | Regenschirme | s
ring | Ring | m | Ringe | es
blanket | Decke | f | Decken |
fork | Gabel | f | Gabeln |
doll | Puppe | f | Puppen |
flag | Fahne | f | Fahnen |
ladder | Leiter | f | Leitern |
saw | Säge | f | Sägen |
necklace | Kette | f | Ketten |
knife/knives | Messer | n | Messer | s
pillow | Kissen | n | Kissen | s
picture | Bild | n | Bilder | es
towel | Handtuch | n | Handtücher | s
tool | Werkzeug | n | Werkzeuge | s
rope | Seil | n | Seile | s
toy | Spielzeug | n | Spielzeuge | s
bracelet | Armband | n | Armbänder | s
"""

_VESSELS = """
suitcase | Koffer | m | Koffer | s
basket | Korb | m | Körbe | es
bucket | Eimer | m | Eimer | s
pot | Topf | m | Töpfe | es
teapot | Teekessel | m | Teekessel | s
lamp | Lampe | f | Lampen |
bag | Tasche | f | Taschen |
box | Kiste | f | Kisten |
bottle | Flasche | f | Flaschen |
cup | Tasse | f | Tassen |
clock | Uhr | f | Uhren |
candle | Kerze | f | Kerzen |
vase | Vase | f | Vasen |
bowl | Schüssel | f | Schüsseln |
glass | Glas | n | Gläser | es
parcel | Paket | n | Pakete | s
barrel | Fass | n | Fässer | es
aquarium | Aquarium | n | Aquarien | s
"""

_FURNITURE = """
table | Tisch | m | Tische | es
chair | Stuhl | m | Stühle | es
cupboard | Schrank | m | Schränke | es
desk | Schreibtisch | m | Schreibtische | es
armchair | Sessel | m | Sessel | s
bench | Bank | f | Bänke |
chest of drawers/chests of drawers | Kommode | f | Kommoden |
chest | Truhe | f | Truhen |
mattress | Matratze | f | Matratzen |
bed | Bett | n | Betten | es
shelf/shelves | Regal | n | Regale | s
sofa | Sofa | n | Sofas | s
piano | Klavier | n | Klaviere | s
"""

_TEXTS = """
letter | Brief | m | Briefe | es
novel | Roman | m | Romane | s
article | Artikel | m | Artikel | s
report | Bericht | m | Berichte | es
contract | Vertrag | m | Verträge | es
calendar | Kalender | m | Kalender | s
note | Zettel | m | Zettel | s
newspaper | Zeitung | f | Zeitungen |
map | Karte | f | Karten |
story | Geschichte | f | Geschichten |
bill | Rechnung | f | Rechnungen |
list | Liste | f | Listen |
message | Nachricht | f | Nachrichten |
magazine | Zeitschrift | f | Zeitschriften |
book | Buch | n | Bücher | es
poem | Gedicht | n | Gedichte | es
notebook | Heft | n | Hefte | es
dictionary | Wörterbuch | n | Wörterbücher | s
document | Dokument | n | Dokumente | s
recipe | Rezept | n | Rezepte | es
diary | Tagebuch | n | Tagebücher | s
"""

_MACHINES = """
computer | Computer | m | Computer | s
printer | Drucker | m | Drucker | s
engine | Motor | m | Motoren | s
fridge | Kühlschrank | m | Kühlschränke | s
oven | Ofen | m | Öfen | s
robot | Roboter | m | Roboter | s
television | Fernseher | m | Fernseher | s
machine | Maschine | f | Maschinen |
camera | Kamera | f | Kameras |
washing machine | Waschmaschine | f | Waschmaschinen |
pump | Pumpe | f | Pumpen |
drill | Bohrmaschine | f | Bohrmaschinen |
alarm system | Alarmanlage | f | Alarmanlagen |
torch | Taschenlampe | f | Taschenlampen |
device | Gerät | n | Geräte | es
radio | Radio | n | Radios | s
telephone | Telefon | n | Telefone | s
microscope | Mikroskop | n | Mikroskope | s
projector | Vorführgerät | n | Vorführgeräte | es
satnav | Navigationsgerät | n | Navigationsgeräte | es
"""

_VEHICLES = """
bus | Bus | m | Busse | ses
train | Zug | m | Züge | es
tractor | Traktor | m | Traktoren | s
lorry | Lastwagen | m | Lastwagen | s
coach | Reisebus | m | Reisebusse | ses
tram | Straßenbahn | f | Straßenbahnen |
ferry | Fähre | f | Fähren |
carriage | Kutsche | f | Kutschen |
locomotive | Lokomotive | f | Lokomotiven |
rocket | Rakete | f | Raketen |
car | Auto | n | Autos | s
boat | Boot | n | Boote | es
bicycle | Fahrrad | n | Fahrräder | s
ship | Schiff | n | Schiffe | es
aeroplane | Flugzeug | n | Flugzeuge | s
motorcycle | Motorrad | n | Motorräder | s
taxi | Taxi | n | Taxis | s
"""

_BUILDINGS = """
tower | Turm | m | Türme | es
railway station | Bahnhof | m | Bahnhöfe | s
shop | Laden | m | Läden | s
palace | Palast | m | Paläste | es
stable | Stall | m | Ställe | es
temple | Tempel | m | Tempel | s
airport | Flughafen | m | Flughäfen | s
church | Kirche | f | Kirchen | | Kirchen
school | Schule | f | Schulen | | Schul
factory | Fabrik | f | Fabriken | | Fabrik
library | Bibliothek | f | Bibliotheken | | Bibliotheks
pharmacy | Apotheke | f | Apotheken |
hut | Hütte | f | Hütten |
bakery | Bäckerei | f | Bäckereien |
house | Haus | n | Häuser | es | Haus
museum | Museum | n | Museen | s | Museums
hotel | Hotel | n | Hotels | s | Hotel
hospital | Krankenhaus | n | Krankenhäuser | es | Krankenhaus
theatre | Theater | n | Theater | s | Theater
restaurant | Restaurant | n | Restaurants | s
castle | Schloss | n | Schlösser | es | Schloss
town hall | Rathaus | n | Rathäuser | es
"""

_ROOMS = """
garden | Garten | m | Gärten | s | Garten
cellar | Keller | m | Keller | s | Keller
park | Park | m | Parks | s | Park
forest | Wald | m | Wälder | es | Wald
courtyard | Hof | m | Höfe | es | Hof
hall | Halle | f | Hallen |
kitchen | Küche | f | Küchen | | Küchen
garage | Garage | f | Garagen | | Garagen
town | Stadt | f | Städte | | Stadt
flat | Wohnung | f | Wohnungen | | Wohnungs
workshop | Werkstatt | f | Werkstätten | | Werkstatt
room | Zimmer | n | Zimmer | s | Zimmer
bathroom | Badezimmer | n | Badezimmer | s | Badezimmer
office | Büro | n | Büros | s | Büro
village | Dorf | n | Dörfer | es | Dorf
valley | Tal | n | Täler | es
tent | Zelt | n | Zelte | es
"""

_FOODS = """
apple | Apfel | m | Äpfel | s | Apfel
cake | Kuchen | m | Kuchen | s
salad | Salat | m | Salate | es
peach | Pfirsich | m | Pfirsiche | s
pumpkin | Kürbis | m | Kürbisse | ses
biscuit | Keks | m | Kekse | es
pancake | Pfannkuchen | m | Pfannkuchen | s
soup | Suppe | f | Suppen |
pear | Birne | f | Birnen |
tomato/tomatoes | Tomate | f | Tomaten | | Tomaten
banana | Banane | f | Bananen |
sausage | Wurst | f | Würste |
lemon | Zitrone | f | Zitronen |
potato/potatoes | Kartoffel | f | Kartoffeln | | Kartoffel
carrot | Karotte | f | Karotten |
egg | Ei | n | Eier | s
bread roll | Brötchen | n | Brötchen | s
sandwich | Sandwich | n | Sandwiches | es
omelette | Omelett | n | Omeletts | s
schnitzel | Schnitzel | n | Schnitzel | s
loaf of bread/loaves of bread | Brot | n | Brote | es
"""

_CLOTHES = """
coat | Mantel | m | Mäntel | s
hat | Hut | m | Hüte | es
skirt | Rock | m | Röcke | es
scarf/scarves | Schal | m | Schals | s
suit | Anzug | m | Anzüge | es
belt | Gürtel | m | Gürtel | s
jumper | Pullover | m | Pullover | s
jacket | Jacke | f | Jacken |
cap | Mütze | f | Mützen |
blouse | Bluse | f | Blusen |
tie | Krawatte | f | Krawatten |
waistcoat | Weste | f | Westen |
apron | Schürze | f | Schürzen |
shirt | Hemd | n | Hemden | es
dress | Kleid | n | Kleider | es
costume | Kostüm | n | Kostüme | s
headscarf/headscarves | Kopftuch | n | Kopftücher | s
T-shirt | T-Shirt | n | T-Shirts | s
"""

_ABSTRACTS = """
mistake | Fehler | m | Fehler | s
dream | Traum | m | Träume | es
attempt | Versuch | m | Versuche | s
advantage | Vorteil | m | Vorteile | s
success | Erfolg | m | Erfolge | s
decision | Entscheidung | f | Entscheidungen |
question | Frage | f | Fragen |
solution | Lösung | f | Lösungen |
answer | Antwort | f | Antworten |
rule | Regel | f | Regeln |
law | Gesetz | n | Gesetze | es
result | Ergebnis | n | Ergebnisse | ses
experiment | Experiment | n | Experimente | s
secret | Geheimnis | n | Geheimnisse | ses
game | Spiel | n | Spiele | es
"""

_PLANS = """
plan | Plan | m | Pläne | es
proposal | Vorschlag | m | Vorschläge | s
strategy | Strategie | f | Strategien |
idea | Idee | f | Ideen |
project | Projekt | n | Projekte | s
offer | Angebot | n | Angebote | s
"""

_PROBLEMS = """
conflict | Konflikt | m | Konflikte | s
case | Fall | m | Fälle | es
task | Aufgabe | f | Aufgaben |
equation | Gleichung | f | Gleichungen |
problem | Problem | n | Probleme | s
riddle | Rätsel | n | Rätsel | s
"""

_EVENTS = """
competition | Wettbewerb | m | Wettbewerbe | s
course | Kurs | m | Kurse | es
lecture | Vortrag | m | Vorträge | s
conference | Konferenz | f | Konferenzen |
meeting | Sitzung | f | Sitzungen |
wedding | Hochzeit | f | Hochzeiten |
journey | Reise | f | Reisen |
concert | Konzert | n | Konzerte | s
party | Fest | n | Feste | es
tournament | Turnier | n | Turniere | s
seminar | Seminar | n | Seminare | s
"""

_PARTS = """
entrance | Eingang | m | Eingänge | s
shutter | Rollladen | m | Rollläden | s
door | Tür | f | Türen |
hatch | Luke | f | Luken |
gate | Tor | n | Tore | es
window | Fenster | n | Fenster | s
"""


def english_plural(word: str) -> str:
    """Regular English plural: boxes, stories, boys."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def parse_noun(line: str, kind: str) -> Noun:
    """One table line as a `Noun`."""
    fields = [field.strip() for field in line.split("|")]
    fields += [""] * (6 - len(fields))
    names, german, gender, plural, ending, compound = fields
    english, _, irregular = names.partition("/")
    weak = ending.endswith("!")
    genitive = german + ending.rstrip("!")
    many = irregular or english_plural(english)
    return Noun(english, many, german, gender, plural, genitive, weak, kind, compound, german)


def _parse(table: str, kind: str) -> tuple[Noun, ...]:
    return tuple(parse_noun(line, kind) for line in table.strip().split("\n"))


NOUNS: dict[str, tuple[Noun, ...]] = {
    kind: _parse(table, kind)
    for kind, table in {
        "man": _MEN,
        "woman": _WOMEN,
        "animal": _ANIMALS,
        "object": _OBJECTS,
        "vessel": _VESSELS,
        "furniture": _FURNITURE,
        "text": _TEXTS,
        "machine": _MACHINES,
        "vehicle": _VEHICLES,
        "building": _BUILDINGS,
        "room": _ROOMS,
        "food": _FOODS,
        "clothing": _CLOTHES,
        "abstract": _ABSTRACTS,
        "plan": _PLANS,
        "problem": _PROBLEMS,
        "event": _EVENTS,
        "part": _PARTS,
    }.items()
}

THING_KINDS: tuple[str, ...] = tuple(kind for kind in NOUNS if kind not in PERSON_KINDS)


def _index() -> dict[str, Noun]:
    return {noun.german: noun for nouns in NOUNS.values() for noun in nouns}


BY_GERMAN: dict[str, Noun] = _index()

# Which rooms and buildings make compounds with which heads: kitchen table, Küchentisch.
_COMPOUND_HEADS: dict[str, tuple[str, ...]] = {
    "Küche": ("Tisch", "Stuhl", "Schrank", "Uhr", "Regal", "Messer", "Lampe", "Tür", "Fenster"),
    "Garten": ("Tisch", "Stuhl", "Bank", "Lampe", "Haus", "Werkzeug", "Tor", "Tür"),
    "Büro": ("Stuhl", "Schrank", "Lampe", "Gebäude", "Computer", "Telefon"),
    "Schule": ("Buch", "Heft", "Tasche", "Bus", "Hof", "Garten", "Bibliothek"),
    "Keller": ("Regal", "Schlüssel", "Lampe", "Tür", "Fenster"),
    "Kirche": ("Turm", "Uhr", "Bank", "Tür", "Fenster"),
    "Hotel": ("Zimmer", "Bett", "Küche", "Rechnung", "Schlüssel", "Eingang"),
    "Haus": ("Schlüssel", "Tür"),
    "Fabrik": ("Tor", "Fenster"),
    "Park": ("Bank",),
    "Werkstatt": ("Schlüssel", "Lampe"),
    "Garage": ("Schlüssel",),
    "Stadt": ("Park", "Bibliothek", "Theater", "Museum"),
    "Dorf": ("Kirche", "Schule", "Laden"),
    "Badezimmer": ("Spiegel", "Schrank", "Lampe"),
    "Krankenhaus": ("Bett", "Zimmer", "Küche"),
    "Schloss": ("Garten", "Hof", "Turm", "Tor"),
    "Theater": ("Kostüm",),
    "Wohnung": ("Schlüssel",),
    "Apfel": ("Kuchen",),
    "Kartoffel": ("Suppe", "Salat"),
    "Tomate": ("Suppe", "Salat"),
}


def compound(first: Noun, head: Noun) -> Noun:
    """The compound of two nouns: one German word, two in English; all inflection is the head's.

    Raises:
        ValueError: `first` has no compound stem.
    """
    if not first.compound:
        raise ValueError(f"`first` is {first.german!r}, a noun without a compound stem")

    def join(german: str) -> str:
        return first.compound + german[0].lower() + german[1:]

    return Noun(
        f"{first.english} {head.english}",
        f"{first.english} {head.english_plural}",
        join(head.german),
        head.gender,
        join(head.german_plural),
        join(head.genitive),
        head.weak,
        head.kind,
        "",
        head.german,
    )


def _compounds() -> dict[str, tuple[Noun, ...]]:
    """Compounds by the German name of their head."""
    found: dict[str, list[Noun]] = {}
    for first, heads in _COMPOUND_HEADS.items():
        for head in heads:
            if head in BY_GERMAN:
                found.setdefault(head, []).append(compound(BY_GERMAN[first], BY_GERMAN[head]))
    return {head: tuple(nouns) for head, nouns in found.items()}


COMPOUNDS: dict[str, tuple[Noun, ...]] = _compounds()
