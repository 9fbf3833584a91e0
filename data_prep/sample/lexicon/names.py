"""Names to copy or translate: people and cities."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MEN: tuple[str, ...] = _words(
    "Peter Paul Martin Stefan Daniel Robert Oliver Simon Tim Jan Karl David Michael Anton "
    "Emil Konrad Leon Viktor Gustav Hugo Bernd Florian Jakob Erik Ali Omar Pedro Ivan"
)

WOMEN: tuple[str, ...] = _words(
    "Anna Maria Julia Laura Eva Sophie Clara Hannah Lena Nina Sandra Martina Emma Ida "
    "Paula Olga Helga Karin Monika Rosa Vera Lisa Johanna Greta Fatima Aylin Irina Elena"
)

FAMILIES: tuple[str, ...] = _words(
    "Müller Weber Schneider Fischer Wagner Becker Hoffmann Koch Bauer Richter Klein Wolf "
    "Neumann Braun Zimmermann Krüger Hartmann Lange Krause Lehmann Köhler Walter Kaiser "
    "Keller Vogel Winkler Baumann Jung Roth Berger Novak Rossi Smith Brown Taylor Kim"
)

# English | German; cities take "in" and "nach" without an article.
_CITIES = """
Berlin | Berlin
Hamburg | Hamburg
Munich | München
Cologne | Köln
Frankfurt | Frankfurt
Leipzig | Leipzig
Dresden | Dresden
Bremen | Bremen
Nuremberg | Nürnberg
Hanover | Hannover
Vienna | Wien
Zurich | Zürich
Geneva | Genf
Basel | Basel
Salzburg | Salzburg
Prague | Prag
Warsaw | Warschau
Rome | Rom
Milan | Mailand
Venice | Venedig
Lisbon | Lissabon
Madrid | Madrid
London | London
Oxford | Oxford
Oslo | Oslo
Moscow | Moskau
Athens | Athen
Copenhagen | Kopenhagen
Brussels | Brüssel
Boston | Boston
"""

CITIES: tuple[tuple[str, str], ...] = tuple(
    (english.strip(), german.strip())
    for english, german in (line.split("|") for line in _CITIES.strip().split("\n"))
)

MONTHS: tuple[tuple[str, str], ...] = (
    ("January", "Januar"),
    ("February", "Februar"),
    ("March", "März"),
    ("April", "April"),
    ("May", "Mai"),
    ("June", "Juni"),
    ("July", "Juli"),
    ("August", "August"),
    ("September", "September"),
    ("October", "Oktober"),
    ("November", "November"),
    ("December", "Dezember"),
)

DAYS: tuple[tuple[str, str], ...] = (
    ("Monday", "Montag"),
    ("Tuesday", "Dienstag"),
    ("Wednesday", "Mittwoch"),
    ("Thursday", "Donnerstag"),
    ("Friday", "Freitag"),
    ("Saturday", "Samstag"),
    ("Sunday", "Sonntag"),
)

# Number words for copies that are not copies: three, drei.
NUMBERS: tuple[tuple[str, str], ...] = (
    ("two", "zwei"),
    ("three", "drei"),
    ("four", "vier"),
    ("five", "fünf"),
    ("six", "sechs"),
    ("seven", "sieben"),
    ("eight", "acht"),
    ("nine", "neun"),
    ("ten", "zehn"),
    ("eleven", "elf"),
    ("twelve", "zwölf"),
    ("twenty", "zwanzig"),
)
