"""German inflection: articles, adjective endings, nouns, verbs; and the little English has.

Cases are ``nom``, ``acc``, ``dat``, ``gen``.  An agreement class is a gender (``m``, ``f``, ``n``)
or ``p`` for the plural, which has no gender in German.
"""

from __future__ import annotations

from .lexicon.adjectives import Adjective
from .lexicon.nouns import Noun
from .lexicon.verbs import Modal, Verb

Endings = dict[str, dict[str, str]]


def _endings(nom: str, acc: str, dat: str, gen: str) -> Endings:
    """Four rows of four endings, in the order m f n p; ``-`` is no ending."""
    rows = {"nom": nom, "acc": acc, "dat": dat, "gen": gen}
    return {
        case: dict(zip("mfnp", (cell.strip("-") for cell in row.split()), strict=True))
        for case, row in rows.items()
    }


DEFINITE = _endings("der die das die", "den die das die", "dem der dem den", "des der des der")
DER_WORD = _endings("er e es e", "en e es e", "em er em en", "es er es er")
EIN_WORD = _endings("- e - e", "en e - e", "em er em en", "es er es er")
WEAK = _endings("e e e en", "en e e en", "en en en en", "en en en en")
MIXED = _endings("er e es en", "en e es en", "en en en en", "en en en en")
STRONG = _endings("er e es e", "en e es e", "em er em en", "en er en er")
RELATIVE = _endings(
    "der die das die", "den die das die", "dem der dem denen", "dessen deren dessen deren"
)

# Third person pronouns; the genitive row is not used.
PERSONAL = _endings("er sie es sie", "ihn sie es sie", "ihm ihr ihm ihnen", "- - - -")

ADJECTIVE_ENDINGS: dict[str, Endings] = {
    "definite": WEAK,
    "der": WEAK,
    "ein": MIXED,
    "quantifier": STRONG,
    "none": STRONG,
}

CONTRACTIONS: dict[tuple[str, str], str] = {
    ("in", "dem"): "im",
    ("in", "das"): "ins",
    ("an", "dem"): "am",
    ("von", "dem"): "vom",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("bei", "dem"): "beim",
}


def determiner_form(stem: str, pattern: str, case: str, agreement: str) -> str:
    """The article or determiner, e.g. (``kein``, ``ein``, ``acc``, ``m``) -> keinen."""
    if pattern == "definite":
        return DEFINITE[case][agreement]
    if pattern == "none":
        return ""
    table = {"der": DER_WORD, "ein": EIN_WORD, "quantifier": STRONG}[pattern]
    ending = table[case][agreement]
    return stem + ending


def adjective_form(adjective: Adjective, pattern: str, case: str, agreement: str) -> str:
    """The attributive adjective after a determiner of the given pattern."""
    return adjective.stem + ADJECTIVE_ENDINGS[pattern][case][agreement]


def noun_form(noun: Noun, case: str, plural: bool) -> str:
    """The noun in its case: des Tisches, den Jungen, den Kindern."""
    if plural:
        needs_n = case == "dat" and not noun.german_plural.endswith(("n", "s"))
        return noun.german_plural + ("n" if needs_n else "")
    if noun.weak and case != "nom":
        return noun.genitive
    return noun.genitive if case == "gen" and noun.gender != "f" else noun.german


# Persons: 1s (ich), 3s, 1p, 3p; the polite Sie is 3p.
_SEIN = {"1s": "bin", "3s": "ist", "1p": "sind", "3p": "sind"}


def present_form(infinitive: str, third: str, person: str) -> str:
    """Present tense of a verb without its prefix."""
    if infinitive == "sein":
        return _SEIN[person]
    if person == "3s":
        return third
    if person == "1s":
        first_is_third = third[-1] != "t" or third in ("weiß",)
        return third if first_is_third else infinitive.removesuffix("n").removesuffix("e") + "e"
    return infinitive


def preterite_form(preterite: str, person: str) -> str:
    """Preterite from its third person singular: machte, machten; ging, gingen; las, lasen."""
    if person in ("1s", "3s"):
        return preterite
    return preterite + ("n" if preterite.endswith("e") else "en")


AUXILIARIES: dict[str, tuple[str, str, str]] = {
    "haben": ("haben", "hat", "hatte"),
    "sein": ("sein", "ist", "war"),
    "werden": ("werden", "wird", "wurde"),
}


def finite_auxiliary(name: str, past: bool, person: str) -> str:
    """A form of haben, sein or werden."""
    infinitive, third, preterite = AUXILIARIES[name]
    if past:
        return preterite_form(preterite, person)
    if name == "haben" and person == "1s":
        return "habe"
    if name == "werden" and person == "1s":
        return "werde"
    return present_form(infinitive, third, person)


def finite_modal(modal: Modal, past: bool, person: str) -> str:
    """A modal verb: kann, konnten; in the singular its first and third persons are one."""
    if past:
        return preterite_form(modal.preterite, person)
    if modal.infinitive == "sollen":  # English should is sollte, also of the present
        return preterite_form(modal.preterite, person)
    return modal.third if person in ("1s", "3s") else modal.infinitive


def finite_verb(verb: Verb, past: bool, person: str) -> str:
    """The finite verb without its separable prefix."""
    if past:
        return preterite_form(verb.preterite, person)
    if verb.infinitive == "werden" and person == "1s":
        return "werde"
    return present_form(verb.infinitive, verb.third, person)


def english_third_person(base: str) -> str:
    """goes, tries, washes, has; `base` may be a phrase whose first word inflects."""
    word, space, rest = base.partition(" ")
    if word == "have":
        word = "has"
    elif word.endswith(("s", "x", "z", "ch", "sh", "o")):
        word += "es"
    elif word.endswith("y") and word[-2] not in "aeiou":
        word = word[:-1] + "ies"
    else:
        word += "s"
    return word + space + rest


def english_be(past: bool, person: str) -> str:
    """am, is, are, was, were."""
    if past:
        return "was" if person in ("1s", "3s") else "were"
    return {"1s": "am", "3s": "is"}.get(person, "are")


def indefinite_article(following: str) -> str:
    """``a`` or ``an`` by the sound the next word begins with."""
    word = following.lower()
    if word.startswith(("use", "uni", "eu", "one")):
        return "a"
    if word.startswith(("hour", "hon")) or word[:1] in "aeiou":
        return "an"
    return "a"
