"""Pairs written by hand against what the two writers make of explicit trees."""

from __future__ import annotations

import pytest

from data_prep.sample.lexicon.names import MEN
from data_prep.sample.lexicon.nouns import compound
from data_prep.sample.lexicon.verbs import MODALS
from data_prep.sample.syntax import (
    BARE,
    FEW,
    HIS,
    MANY,
    MY,
    THE,
    THIS,
    A,
    Clause,
    Gap,
    Infinitive,
    Interrogative,
    Name,
    NounPhrase,
    Pair,
    Prepositional,
    Pronoun,
    Sentence,
    Subordinate,
)

from .trees import adverb, because, both, described, noun, np, place, verb

MAN, WOMAN, BOY, CHILDREN = np("Mann"), np("Frau"), np("Junge"), np("Mädchen", plural=True)
BUY = verb("buy", "kaufen")
YESTERDAY = adverb("time", "yesterday", "gestern")
ANNA = Name("Anna", "f")
WEBER = Name("Weber", "m", title=True)


def it(german_noun: str, distance: int = 1) -> Pronoun:
    return Pronoun("it", noun(german_noun), distance)


def gap(german_noun: str, plural: bool = False, whose: str = "") -> Gap:
    return Gap(noun(german_noun), plural, noun(whose) if whose else None)


PAIRS = {
    "accusative masculine": (
        Clause(MAN, BUY, direct=np("Tisch", A, "old")),
        "The man bought an old table.",
        "Der Mann kaufte einen alten Tisch.",
    ),
    "n-declension and dative": (
        Clause(np("Nachbar"), verb("help", "helfen"), "present", direct=BOY),
        "The neighbour helps the boy.",
        "Der Nachbar hilft dem Jungen.",
    ),
    "dative plural": (
        Clause(WOMAN, verb("follow", "folgen"), direct=np("Kalb", THIS, "young", plural=True)),
        "The woman followed these young calves.",
        "Die Frau folgte diesen jungen Kälbern.",
    ),
    "genitive owner": (
        Clause(MAN, BUY, direct=np("Haus", owner=np("Präsident"))),
        "The man bought the president's house.",
        "Der Mann kaufte das Haus des Präsidenten.",
    ),
    "genitive thing": (
        Clause(MAN, verb("open", "öffnen"), direct=np("Fenster", owner=np("Schloss"))),
        "The man opened the window of the castle.",
        "Der Mann öffnete das Fenster des Schlosses.",
    ),
    "owner by name, strong ending": (
        Clause(WEBER, BUY, direct=np("Auto", THE, "new", owner=ANNA)),
        "Mr Weber bought Anna's new car.",
        "Herr Weber kaufte Annas neues Auto.",
    ),
    "owner with title": (
        Clause(ANNA, BUY, direct=np("Hund", owner=WEBER)),
        "Anna bought Mr Weber's dog.",
        "Anna kaufte Herrn Webers Hund.",
    ),
    "Herrn": (
        Clause(ANNA, verb("thank", "danken"), direct=WEBER),
        "Anna thanked Mr Weber.",
        "Anna dankte Herrn Weber.",
    ),
    "verb second": (
        Clause(MAN, BUY, direct=np("Lampe"), fronted=YESTERDAY),
        "Yesterday, the man bought the lamp.",
        "Gestern kaufte der Mann die Lampe.",
    ),
    "clause in front": (
        Clause(
            Pronoun("she"),
            verb("laugh", "lachen", "none"),
            fronted=because(described(WOMAN, "happy", degree=("very", "sehr"))),
        ),
        "Because the woman was very happy, she laughed.",
        "Weil die Frau sehr glücklich war, lachte sie.",
    ),
    "perfect with sein in a subordinate clause": (
        Clause(
            MAN,
            verb("say", "sagen"),
            complement=Subordinate(
                "that", "dass", Clause(ANNA, verb("arrive", "ankommen"), "pluperfect")
            ),
        ),
        "The man said that Anna had arrived.",
        "Der Mann sagte, dass Anna angekommen war.",
    ),
    "perfect with haben": (
        Clause(WOMAN, verb("read", "lesen"), "perfect", direct=np("Buch")),
        "The woman has read the book.",
        "Die Frau hat das Buch gelesen.",
    ),
    "separable verb in a main clause": (
        Clause(MAN, verb("turn", "einschalten"), direct=np("Computer")),
        "The man turned on the computer.",
        "Der Mann schaltete den Computer ein.",
    ),
    "separable verb, final": (
        Clause(
            ANNA,
            verb("laugh", "lachen", "none"),
            trailing=because(Clause(MAN, verb("call", "anrufen"), direct=Pronoun("she"))),
        ),
        "Anna laughed because the man called her.",
        "Anna lachte, weil der Mann sie anrief.",
    ),
    "separable participle and moved particle": (
        Clause(ANNA, verb("throw", "wegwerfen"), "perfect", direct=it("Hut")),
        "Anna has thrown it away.",
        "Anna hat ihn weggeworfen.",
    ),
    "modal": (
        Clause(ANNA, verb("pick", "abholen"), direct=BOY, modal=MODALS["have to"]),
        "Anna had to pick up the boy.",
        "Anna musste den Jungen abholen.",
    ),
    "modal in a final clause": (
        Clause(
            MAN,
            verb("know", "wissen"),
            "present",
            complement=Subordinate(
                "that",
                "dass",
                Clause(ANNA, verb("swim", "schwimmen"), "present", modal=MODALS["can"]),
            ),
        ),
        "The man knows that Anna can swim.",
        "Der Mann weiß, dass Anna schwimmen kann.",
    ),
    "know is kennen": (
        Clause(MAN, verb("know", "kennen"), "present", direct=WOMAN),
        "The man knows the woman.",
        "Der Mann kennt die Frau.",
    ),
    "future": (
        Clause(MAN, verb("sell", "verkaufen"), "future", direct=np("Schiff")),
        "The man will sell the ship.",
        "Der Mann wird das Schiff verkaufen.",
    ),
    "passive with agent, contraction": (
        Clause(
            it("Kirche"),
            verb("build", "bauen"),
            passive=True,
            adverbials=(place("agent", "by", "von", "dat", MAN),),
        ),
        "It was built by the man.",
        "Sie wurde vom Mann gebaut.",
    ),
    "relative subject": (
        described(np("Frau", relative=Clause(gap("Frau"), verb("sing", "singen"))), "young"),
        "The woman who sang was young.",
        "Die Frau, die sang, war jung.",
    ),
    "relative object moves behind the participle": (
        Clause(
            MAN,
            verb("find", "finden"),
            "perfect",
            direct=np(
                "Schlüssel",
                relative=Clause(ANNA, verb("lose", "verlieren"), direct=gap("Schlüssel")),
            ),
        ),
        "The man has found the key that Anna lost.",
        "Der Mann hat den Schlüssel gefunden, den Anna verlor.",
    ),
    "relative dative plural": (
        Clause(
            MAN,
            verb("see", "sehen"),
            direct=np(
                "Hund",
                plural=True,
                relative=Clause(BOY, verb("follow", "folgen"), direct=gap("Hund", True)),
            ),
        ),
        "The man saw the dogs that the boy followed.",
        "Der Mann sah die Hunde, denen der Junge folgte.",
    ),
    "relative with preposition": (
        described(
            np(
                "Zug",
                relative=Clause(
                    ANNA,
                    verb("wait", "warten", "auf/acc/for"),
                    oblique=Prepositional("for", "auf", "acc", gap("Zug")),
                ),
            ),
            "slow",
        ),
        "The train that Anna waited for was slow.",
        "Der Zug, auf den Anna wartete, war langsam.",
    ),
    "whose": (
        described(
            np("Mann", relative=described(gap("Mann", whose="Schwester"), "famous", "present")),
            "rich",
            "present",
        ),
        "The man whose sister is famous is rich.",
        "Der Mann, dessen Schwester berühmt ist, ist reich.",
    ),
    "nested clauses": (
        Clause(
            MAN,
            verb("believe", "glauben"),
            complement=Subordinate(
                "that",
                "dass",
                Clause(
                    np(
                        "Frau",
                        relative=Clause(
                            gap("Frau"),
                            verb("live", "wohnen"),
                            adverbials=(adverb("place", "in Munich", "in München"),),
                        ),
                    ),
                    BUY,
                    "pluperfect",
                    direct=np("Klavier", A),
                ),
            ),
            trailing=because(described(Pronoun("she"), "rich")),
        ),
        "The man believed that the woman who lived in Munich had bought a piano "
        "because she was rich.",
        "Der Mann glaubte, dass die Frau, die in München wohnte, ein Klavier gekauft hatte, "
        "weil sie reich war.",
    ),
    "infinitive": (
        Clause(
            MAN,
            verb("try", "versuchen"),
            complement=Infinitive(Clause(MAN, verb("call", "anrufen"), "present", direct=ANNA)),
        ),
        "The man tried to call Anna.",
        "Der Mann versuchte, Anna anzurufen.",
    ),
    "purpose in front": (
        Clause(
            MAN,
            verb("go", "gehen"),
            adverbials=(place("direction", "into", "in", "acc", np("Stadt")),),
            fronted=Infinitive(Clause(MAN, BUY, "present", direct=np("Hemd", A)), purpose=True),
        ),
        "In order to buy a shirt, the man went into the town.",
        "Um ein Hemd zu kaufen, ging der Mann in die Stadt.",
    ),
    "where and where to: place": (
        Clause(
            WOMAN,
            verb("sit", "sitzen"),
            adverbials=(place("place", "in", "in", "dat", np("Garten")),),
        ),
        "The woman sat in the garden.",
        "Die Frau saß im Garten.",
    ),
    "where and where to: direction": (
        Clause(
            WOMAN,
            verb("put", "stellen"),
            direct=np("Vase"),
            adverbials=(place("direction", "on", "auf", "acc", np("Tisch")),),
        ),
        "The woman put the vase on the table.",
        "Die Frau stellte die Vase auf den Tisch.",
    ),
    "order of adverbials": (
        Clause(
            MAN,
            verb("read", "lesen"),
            "perfect",
            direct=np("Brief"),
            adverbials=(
                adverb("place", "in Vienna", "in Wien"),
                adverb("manner", "slowly", "langsam"),
                YESTERDAY,
            ),
        ),
        "The man has read the letter slowly in Vienna yesterday.",
        "Der Mann hat gestern den Brief langsam in Wien gelesen.",
    ),
    "nicht": (
        Clause(MAN, BUY, direct=np("Auto"), negated=True),
        "The man did not buy the car.",
        "Der Mann kaufte das Auto nicht.",
    ),
    "cannot": (
        Clause(MAN, verb("swim", "schwimmen"), "present", modal=MODALS["can"], negated=True),
        "The man cannot swim.",
        "Der Mann kann nicht schwimmen.",
    ),
    "nicht before a predicate": (
        described(np("Auto"), "expensive", "present", negated=True),
        "The car is not expensive.",
        "Das Auto ist nicht teuer.",
    ),
    "kein": (
        Clause(MAN, BUY, "perfect", direct=np("Auto", A, "expensive"), negated=True),
        "The man has not bought an expensive car.",
        "Der Mann hat kein teures Auto gekauft.",
    ),
    "kein in the plural": (
        Clause(MAN, BUY, direct=np("Apfel", BARE, "sweet", plural=True), negated=True),
        "The man did not buy sweet apples.",
        "Der Mann kaufte keine süßen Äpfel.",
    ),
    "two objects": (
        Clause(MAN, verb("give", "geben"), direct=np("Apfel", A), indirect=np("Mädchen")),
        "The man gave the girl an apple.",
        "Der Mann gab dem Mädchen einen Apfel.",
    ),
    "pronoun before dative": (
        Clause(MAN, verb("give", "geben"), direct=it("Apfel"), indirect=np("Mädchen")),
        "The man gave it to the girl.",
        "Der Mann gab ihn dem Mädchen.",
    ),
    "dative it": (
        Clause(WOMAN, verb("help", "helfen"), direct=it("Katze")),
        "The woman helped it.",
        "Die Frau half ihr.",
    ),
    "without it": (
        Clause(
            WOMAN,
            verb("come", "zurückkommen"),
            adverbials=(place("manner", "without", "ohne", "acc", it("Koffer")),),
        ),
        "The woman came back without it.",
        "Die Frau kam ohne ihn zurück.",
    ),
    "it inside one sentence": (
        Clause(
            ANNA, BUY, direct=np("Lampe", A), trailing=because(described(it("Lampe", 0), "cheap"))
        ),
        "Anna bought a lamp because it was cheap.",
        "Anna kaufte eine Lampe, weil sie billig war.",
    ),
    "quantifier, strong endings": (
        Clause(MAN, BUY, direct=np("Buch", MANY, "old", plural=True)),
        "The man bought many old books.",
        "Der Mann kaufte viele alte Bücher.",
    ),
    "quantifier in the dative": (
        Clause(MAN, verb("help", "helfen"), direct=np("Kunde", FEW, "poor", plural=True)),
        "The man helped few poor customers.",
        "Der Mann half wenigen armen Kunden.",
    ),
    "counted": (
        Clause(MAN, BUY, direct=np("Ei", BARE, plural=True, count=("27", "27"))),
        "The man bought 27 eggs.",
        "Der Mann kaufte 27 Eier.",
    ),
    "compound": (
        described(NounPhrase(compound(noun("Küche"), noun("Tisch")), MY), "new"),
        "My kitchen table was new.",
        "Mein Küchentisch war neu.",
    ),
    "two adjectives": (
        Clause(MAN, BUY, direct=np("Jacke", A, "small", "expensive", "red")),
        "The man bought a small, expensive red jacket.",
        "Der Mann kaufte eine kleine, teure rote Jacke.",
    ),
    "irregular stems": (
        Clause(MAN, BUY, direct=np("Zimmer", HIS, "dark")),
        "The man bought his dark room.",
        "Der Mann kaufte sein dunkles Zimmer.",
    ),
    "genitive time": (
        Clause(
            CHILDREN,
            verb("sleep", "schlafen"),
            adverbials=(place("time", "during", "während", "gen", np("Konzert")),),
        ),
        "The girls slept during the concert.",
        "Die Mädchen schliefen während des Konzerts.",
    ),
    "copies": (
        Clause(
            Name(MEN[0], "m"),
            verb("come", "zurückkommen"),
            fronted=adverb("time", "on 14 March 1987", "am 14. März 1987"),
        ),
        "On 14 March 1987, Peter came back.",
        "Am 14. März 1987 kam Peter zurück.",
    ),
    "price": (
        Clause(
            it("Uhr"),
            verb("cost", "kosten"),
            adverbials=(adverb("measure", "12.50 euros", "12,50 Euro"),),
        ),
        "It cost 12.50 euros.",
        "Sie kostete 12,50 Euro.",
    ),
    "first person": (
        Clause(Pronoun("I"), verb("fall", "einschlafen"), "present"),
        "I fall asleep.",
        "Ich schlafe ein.",
    ),
    "coordination": (
        Sentence(
            (
                Clause(Pair(ANNA, Name("Peter", "m")), verb("sing", "singen")),
                Clause(MAN, verb("sleep", "schlafen"), fronted=adverb("opener", "then", "dann")),
            ),
            (("and", "und"),),
        ),
        "Anna and Peter sang, and then the man slept.",
        "Anna und Peter sangen und dann schlief der Mann.",
    ),
    "coordination after a clause": (
        Sentence(
            (
                Clause(
                    MAN, verb("sing", "singen"), trailing=because(described(Pronoun("he"), "happy"))
                ),
                Clause(WOMAN, verb("sleep", "schlafen")),
            ),
            (("and", "und"),),
        ),
        "The man sang because he was happy, and the woman slept.",
        "Der Mann sang, weil er glücklich war, und die Frau schlief.",
    ),
    "polite question": (
        Sentence(
            (Clause(Pronoun("you"), verb("know", "kennen"), "present", direct=np("Bauer")),),
            (),
            "question",
        ),
        "Do you know the farmer?",
        "Kennen Sie den Bauern?",
    ),
    "question word": (
        Sentence((Clause(WOMAN, verb("depart", "abfahren")),), (), "question", ("when", "wann")),
        "When did the woman depart?",
        "Wann fuhr die Frau ab?",
    ),
    "who and what": (
        Sentence(
            (Clause(Interrogative("who"), verb("invite", "einladen"), direct=Pronoun("we")),),
            (),
            "question",
        ),
        "Who invited us?",
        "Wer lud uns ein?",
    ),
    "what": (
        Sentence(
            (Clause(WOMAN, verb("throw", "wegwerfen"), direct=Interrogative("what")),),
            (),
            "question",
        ),
        "What did the woman throw away?",
        "Was warf die Frau weg?",
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pair(name):
    tree, english_line, german_line = PAIRS[name]
    assert both(tree) == (english_line, german_line)


@pytest.mark.parametrize(
    ("german_noun", "forms"),
    [
        ("Hut", ("Er", "ihn", "ihm")),
        ("Katze", ("Sie", "sie", "ihr")),
        ("Pferd", ("Es", "es", "ihm")),
    ],
)
def test_it_follows_the_gender_of_its_antecedent(german_noun, forms):
    said = it(german_noun)
    assert both(described(said, "old"))[1] == f"{forms[0]} war alt."
    assert both(Clause(MAN, BUY, direct=said))[1] == f"Der Mann kaufte {forms[1]}."
    assert (
        both(Clause(MAN, verb("follow", "folgen"), direct=said))[1]
        == f"Der Mann folgte {forms[2]}."
    )


def test_it_needs_an_antecedent():
    with pytest.raises(ValueError, match="`antecedent` is None"):
        both(described(Pronoun("it"), "old"))


def test_a_compound_needs_a_stem():
    with pytest.raises(ValueError, match="a noun without a compound stem"):
        compound(noun("Fehler"), noun("Tisch"))
