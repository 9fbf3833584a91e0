"""Verbs and modals.

Each line of the table reads

    English | German | frame | kinds of subject | kinds of object

English: base, then past and participle where irregular.  ``turn ~off`` has a particle that a
pronoun moves across (turn it off); ``look for/`` has a preposition that stays.
German: infinitive, third person singular present, preterite, participle.  ``an|rufen`` is
separable; ``+gegangen`` builds its perfect with *sein*.
Frames: none, acc, dat, dat+acc, adj (a predicate adjective), place, direction, put (an object and
a direction), measure (a price), that, dat+that, whether, to (an infinitive), or a German
preposition with its case and the English preposition (auf/acc/for).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """A pair of English and German verbs with one frame of complements."""

    base: str
    past: str
    participle: str
    particle: str  # moves behind a pronoun: turn it off
    preposition: str  # stays in front of its object: look for it
    prefix: str  # German separable prefix
    infinitive: str  # without the prefix
    third: str
    preterite: str
    german_participle: str  # with the prefix
    with_sein: bool
    frame: str
    subjects: tuple[str, ...]
    objects: tuple[str, ...]

    @property
    def lemma(self) -> str:
        return self.prefix + self.infinitive

    @property
    def case(self) -> str:
        """Case of the direct object."""
        return "dat" if self.frame == "dat" else "acc"


@dataclass(frozen=True, slots=True)
class Modal:
    """`style` says how English builds it: aux (can), verb (has to), be (is allowed to)."""

    style: str
    present: str
    past: str
    infinitive: str
    third: str
    preterite: str


_GROUPS = {
    "person": "man woman",
    "goods": "object vessel furniture machine vehicle clothing text",
    "any": "object vessel furniture machine vehicle clothing text food building room part animal",
    "portable": "object vessel text clothing",
    "ideas": "abstract plan problem",
    "carrier": "building animal vehicle",
    "thought": "text abstract plan problem",
    "being": "man woman animal",
}

_TABLE = """
buy bought bought | kaufen kauft kaufte gekauft | acc | person | goods food building animal
sell sold sold | verkaufen verkauft verkaufte verkauft | acc | person | goods food building animal
find found found | finden findet fand gefunden | acc | person | portable animal
see saw seen | sehen sieht sah gesehen | acc | person animal | any person
lose lost lost | verlieren verliert verlor verloren | acc | person | portable
look for/ | suchen sucht suchte gesucht | acc | person | portable animal person
need | brauchen braucht brauchte gebraucht | acc | person | goods
like | mögen mag mochte gemocht | acc | person | any person
love | lieben liebt liebte geliebt | acc | person | person animal
hate | hassen hasst hasste gehasst | acc | person | food animal ideas
know knew known | kennen kennt kannte gekannt | acc | person | person building text room
admire | bewundern bewundert bewunderte bewundert | acc | person | person building vehicle animal
visit | besuchen besucht besuchte besucht | acc | person | person building
meet met met | treffen trifft traf getroffen | acc | person | person
greet | begrüßen begrüßt begrüßte begrüßt | acc | person | person
follow | folgen folgt folgte +gefolgt | dat | person animal | person animal vehicle
help | helfen hilft half geholfen | dat | person | person animal
thank | danken dankt dankte gedankt | dat | person | person
trust | vertrauen vertraut vertraute vertraut | dat | person | person animal machine text
answer | antworten antwortet antwortete geantwortet | dat | person | person
contradict | widersprechen widerspricht widersprach widersprochen | dat | person | person
congratulate | gratulieren gratuliert gratulierte gratuliert | dat | person | person
obey | gehorchen gehorcht gehorchte gehorcht | dat | animal | person
belong to/ | gehören gehört gehörte gehört | dat | goods building animal | person
please | gefallen gefällt gefiel gefallen | dat | goods building room ideas | person
read read read | lesen liest las gelesen | acc | person | text
write wrote written | schreiben schreibt schrieb geschrieben | acc | person | text
translate | übersetzen übersetzt übersetzte übersetzt | acc | person | text
print | drucken druckt druckte gedruckt | acc | person | text
correct | korrigieren korrigiert korrigierte korrigiert | acc | person | text
publish | veröffentlichen veröffentlicht veröffentlichte veröffentlicht | acc | person | text
repair | reparieren repariert reparierte repariert | acc | person | machine vehicle furniture
clean | reinigen reinigt reinigte gereinigt | acc | person | room machine vehicle furniture
wash washed washed | waschen wäscht wusch gewaschen | acc | person | clothing vehicle animal
build built built | bauen baut baute gebaut | acc | person | building
paint | streichen streicht strich gestrichen | acc | person | building room part furniture
paint | malen malt malte gemalt | acc | person | person animal
open | öffnen öffnet öffnete geöffnet | acc | person | part
close | schließen schließt schloss geschlossen | acc | person | part
eat ate eaten | essen isst aß gegessen | acc | person | food
eat ate eaten | fressen frisst fraß gefressen | acc | animal | food
cook | kochen kocht kochte gekocht | acc | person | food
taste | probieren probiert probierte probiert | acc | person | food
cut cut cut | schneiden schneidet schnitt geschnitten | acc | person | food
carry | tragen trägt trug getragen | acc | person | vessel furniture
wear wore worn | tragen trägt trug getragen | acc | person | clothing
save | retten rettet rettete gerettet | acc | person | person animal
save | speichern speichert speicherte gespeichert | acc | person | text
hide hid hidden | verstecken versteckt versteckte versteckt | acc | person | portable
forget forgot forgotten | vergessen vergisst vergaß vergessen | acc | person | portable ideas
steal stole stolen | stehlen stiehlt stahl gestohlen | acc | person | portable vehicle
use | benutzen benutzt benutzte benutzt | acc | person | machine vehicle object
feed fed fed | füttern füttert fütterte gefüttert | acc | person | animal
hear heard heard | hören hört hörte gehört | acc | person animal | person animal vehicle
photograph | fotografieren fotografiert fotografierte fotografiert | acc | person | any
describe | beschreiben beschreibt beschrieb beschrieben | acc | person | any ideas
discuss | besprechen bespricht besprach besprochen | acc | person | ideas text
understand understood understood | verstehen versteht verstand verstanden | acc | person | thought
solve | lösen löst löste gelöst | acc | person | problem
call | an|rufen ruft rief angerufen | acc | person | person
turn ~on | ein|schalten schaltet schaltete eingeschaltet | acc | person | machine
turn ~off | aus|schalten schaltet schaltete ausgeschaltet | acc | person | machine
pick ~up | ab|holen holt holte abgeholt | acc | person | person vehicle
throw ~away threw thrown | weg|werfen wirft warf weggeworfen | acc | person | portable food
put ~on put put | an|ziehen zieht zog angezogen | acc | person | clothing
take ~off took taken | aus|ziehen zieht zog ausgezogen | acc | person | clothing
try ~on | an|probieren probiert probierte anprobiert | acc | person | clothing
look at/ | an|sehen sieht sah angesehen | acc | person animal | any person
invite | ein|laden lädt lud eingeladen | acc | person | person
read ~out read read | vor|lesen liest las vorgelesen | acc | person | text
prepare | vor|bereiten bereitet bereitete vorbereitet | acc | person | event
tidy ~up | auf|räumen räumt räumte aufgeräumt | acc | person | room
lock | ab|schließen schließt schloss abgeschlossen | acc | person | part
reject | ab|lehnen lehnt lehnte abgelehnt | acc | person | plan
accept | an|nehmen nimmt nahm angenommen | acc | person | plan
give ~up gave given | auf|geben gibt gab aufgegeben | acc | person | plan
wake ~up woke woken | auf|wecken weckt weckte aufgeweckt | acc | person | person animal
listen to/ | zu|hören hört hörte zugehört | dat | person | person
wait | warten wartet wartete gewartet | auf/acc/for | person animal | person vehicle
think thought thought | denken denkt dachte gedacht | an/acc/of | person | person animal room
talk | sprechen spricht sprach gesprochen | über/acc/about | person | person text ideas
laugh | lachen lacht lachte gelacht | über/acc/about | person | person text
ask | bitten bittet bat gebeten | um/acc/for | person | object text
dream dreamt dreamt | träumen träumt träumte geträumt | von/dat/of | person | carrier
work | arbeiten arbeitet arbeitete gearbeitet | an/dat/on | person | text ideas machine
play | spielen spielt spielte gespielt | mit/dat/with | person animal | person animal object
take part took taken | teil|nehmen nimmt nahm teilgenommen | an/dat/in | person | event
run ~away ran run | weg|laufen läuft lief +weggelaufen | vor/dat/from | being | being
give gave given | geben gibt gab gegeben | dat+acc | person | portable food
show showed shown | zeigen zeigt zeigte gezeigt | dat+acc | person | portable building vehicle
send sent sent | schicken schickt schickte geschickt | dat+acc | person | portable
lend lent lent | leihen leiht lieh geliehen | dat+acc | person | portable machine vehicle
bring brought brought | bringen bringt brachte gebracht | dat+acc | person | portable food
offer | an|bieten bietet bot angeboten | dat+acc | person | food portable
explain | erklären erklärt erklärte erklärt | dat+acc | person | ideas
give ~back gave given | zurück|geben gibt gab zurückgegeben | dat+acc | person | portable
read ~out read read | vor|lesen liest las vorgelesen | dat+acc | person | text
put put put | legen legt legte gelegt | put | person | text clothing object
put put put | stellen stellt stellte gestellt | put | person | vessel
sleep slept slept | schlafen schläft schlief geschlafen | none | person animal |
work | arbeiten arbeitet arbeitete gearbeitet | none | person |
work | funktionieren funktioniert funktionierte funktioniert | none | machine |
laugh | lachen lacht lachte gelacht | none | person |
sing sang sung | singen singt sang gesungen | none | person |
dance | tanzen tanzt tanzte getanzt | none | person |
cry | weinen weint weinte geweint | none | person |
swim swam swum | schwimmen schwimmt schwamm +geschwommen | none | person animal |
disappear | verschwinden verschwindet verschwand +verschwunden | none | portable vehicle being |
fall ~down fell fallen | herunter|fallen fällt fiel +heruntergefallen | none | object vessel |
burn ~down burnt burnt | ab|brennen brennt brannte +abgebrannt | none | building |
arrive | an|kommen kommt kam +angekommen | none | person vehicle text |
depart | ab|fahren fährt fuhr +abgefahren | none | vehicle |
get ~up got got | auf|stehen steht stand +aufgestanden | none | person |
fall asleep fell fallen | ein|schlafen schläft schlief +eingeschlafen | none | person animal |
wake ~up woke woken | auf|wachen wacht wachte +aufgewacht | none | person animal |
come ~back came come | zurück|kommen kommt kam +zurückgekommen | none | person animal vehicle |
stop | an|halten hält hielt angehalten | none | vehicle |
escape | entkommen entkommt entkam +entkommen | none | animal person |
stand stood stood | stehen steht stand gestanden | place | vessel furniture machine vehicle |
lie lay lain | liegen liegt lag gelegen | place | object text clothing animal |
sit sat sat | sitzen sitzt saß gesessen | place | person animal |
live | wohnen wohnt wohnte gewohnt | place | person |
wait | warten wartet wartete gewartet | place | person |
go went gone | gehen geht ging +gegangen | direction | person |
run ran run | laufen läuft lief +gelaufen | direction | person animal |
drive drove driven | fahren fährt fuhr +gefahren | direction | person |
come came come | kommen kommt kam +gekommen | direction | person |
be was been | sein ist war +gewesen | adj | any person ideas |
become became become | werden wird wurde +geworden | adj | person animal |
remain | bleiben bleibt blieb +geblieben | adj | person |
look | aus|sehen sieht sah ausgesehen | adj | person animal goods building room |
cost cost cost | kosten kostet kostete gekostet | measure | goods animal |
say said said | sagen sagt sagte gesagt | that | person |
believe | glauben glaubt glaubte geglaubt | that | person |
think thought thought | denken denkt dachte gedacht | that | person |
know knew known | wissen weiß wusste gewusst | that | person |
hope | hoffen hofft hoffte gehofft | that | person |
claim | behaupten behauptet behauptete behauptet | that | person |
notice | bemerken bemerkt bemerkte bemerkt | that | person |
hear heard heard | hören hört hörte gehört | that | person |
forget forgot forgotten | vergessen vergisst vergaß vergessen | that | person |
report | berichten berichtet berichtete berichtet | that | person |
find ~out found found | heraus|finden findet fand herausgefunden | that | person |
tell told told | erzählen erzählt erzählte erzählt | dat+that | person |
promise | versprechen verspricht versprach versprochen | dat+that | person |
explain to/ | erklären erklärt erklärte erklärt | dat+that | person |
ask | fragen fragt fragte gefragt | whether | person |
check | prüfen prüft prüfte geprüft | whether | person |
find ~out found found | heraus|finden findet fand herausgefunden | whether | person |
try | versuchen versucht versuchte versucht | to | person |
hope | hoffen hofft hoffte gehofft | to | person |
promise | versprechen verspricht versprach versprochen | to | person |
decide | beschließen beschließt beschloss beschlossen | to | person |
forget forgot forgotten | vergessen vergisst vergaß vergessen | to | person |
begin began begun | an|fangen fängt fing angefangen | to | person animal |
"""


def _regular_past(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    if base in ("stop",):
        return base + base[-1] + "ed"
    return base + "ed"


def _english(text: str) -> tuple[str, str, str, str, str]:
    """base, past, participle, particle, preposition."""
    words = text.split()
    particle = preposition = ""
    if len(words) > 1 and words[1].startswith("~"):
        particle = words.pop(1)[1:]
    elif len(words) > 1 and words[1].endswith("/"):
        preposition = words.pop(1)[:-1]
    elif len(words) in (2, 4) and words[1] in ("asleep", "part"):
        particle = words.pop(1)
    base = words[0]
    past, participle = words[1:3] if len(words) == 3 else (_regular_past(base),) * 2
    return base, past, participle, particle, preposition


def _kinds(names: str) -> tuple[str, ...]:
    expanded = [kind for name in names.split() for kind in _GROUPS.get(name, name).split()]
    return tuple(dict.fromkeys(expanded))


def _parse(line: str) -> Verb:
    # A bar after a space parts the columns; one inside a word marks a prefix.
    english, german, frame, subjects, objects = (field.strip() for field in line.split(" |"))
    infinitive, third, preterite, participle = german.split()
    prefix, _, bare = infinitive.rpartition("|")
    return Verb(
        *_english(english),
        prefix,
        bare,
        third,
        preterite,
        participle.lstrip("+"),
        participle.startswith("+"),
        frame,
        _kinds(subjects),
        _kinds(objects),
    )


VERBS: tuple[Verb, ...] = tuple(_parse(line) for line in _TABLE.strip().split("\n"))


def find(base: str, lemma: str, frame: str | None = None) -> Verb:
    """The verb with this English base, German infinitive and, where given, frame.

    Raises:
        KeyError: no such verb.
    """
    for verb in VERBS:
        if verb.base == base and verb.lemma == lemma and frame in (None, verb.frame):
            return verb
    raise KeyError(f"{base} = {lemma} ({frame})")


BY_FRAME: dict[str, tuple[Verb, ...]] = {
    frame: tuple(verb for verb in VERBS if verb.frame == frame)
    for frame in dict.fromkeys(verb.frame for verb in VERBS)
}


def _lemmas(text: str) -> frozenset[str]:
    return frozenset(text.split())


# How verbs may be used: with adverbs of manner, in the passive, or as states, which take neither
# those nor modals nor places.
OF_MANNER = _lemmas(
    "lesen schreiben übersetzen reparieren reinigen waschen öffnen schließen essen fressen "
    "schneiden verstecken fotografieren malen streichen aufräumen arbeiten laufen "
    "gehen schwimmen legen stellen anprobieren abschließen beschreiben zeigen korrigieren "
    "vorbereiten kochen vorlesen"
)
IN_PASSIVE = _lemmas(
    "bauen reparieren reinigen streichen verkaufen kaufen finden übersetzen drucken "
    "veröffentlichen stehlen wegwerfen fotografieren besprechen ablehnen annehmen lösen retten "
    "füttern waschen korrigieren einladen begrüßen beschreiben abschließen abholen"
)
STATES = _lemmas(
    "mögen lieben hassen kennen bewundern gehören gefallen kosten sein werden bleiben aussehen "
    "wissen glauben brauchen vertrauen verstehen denken hoffen wohnen sehen hören bemerken "
    "vergessen behaupten verlieren funktionieren verschwinden entkommen herunterfallen abbrennen"
)
RECURRENT = _lemmas("aussehen sehen hören vergessen verlieren verschwinden denken")  # of STATES

MODALS: dict[str, Modal] = {
    "can": Modal("aux", "can", "could", "können", "kann", "konnte"),
    "should": Modal("aux", "should", "should", "sollen", "sollte", "sollte"),
    "have to": Modal("verb", "have to", "had to", "müssen", "muss", "musste"),
    "want to": Modal("verb", "want to", "wanted to", "wollen", "will", "wollte"),
    "be allowed to": Modal("be", "allowed to", "allowed to", "dürfen", "darf", "durfte"),
}
