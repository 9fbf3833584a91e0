"""The ways to train a decoder, beside each other in one experiment: its axis `recipe`.

All decoders of an experiment can be trained by the same recipe, so that a curriculum is no
advantage of one architecture.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The curriculum of experiments: nothing is left out or cut, the order alone changes. `competence`
#: grows as the root of the updates (Platanios et al. 2019) and lasts for the first epoch.
CURRICULUM = ("--memtx-length-schedule", "competence", "--memtx-length-mode", "order")


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Attributes:
        name: in run names, records and tables.
        meaning: half a sentence for a table.
        has_curriculum: short targets come first.
        begins_from: the recipe of the Transformer, of the same sizes and seed, whose weights a
            memory decoder starts from; "" for random weights.
        is_distilled: trained on a Transformer's translations.
    """

    name: str
    meaning: str
    has_curriculum: bool = False
    begins_from: str = ""
    is_distilled: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """Its flags of `fairseq-train` but for those that name a file."""
        return CURRICULUM if self.has_curriculum else ()


PLAIN = "plain"

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(PLAIN, "all lengths from the first update, from random weights"),
        Recipe(
            "curriculum",
            "in the first epoch short targets come first, each pair once",
            has_curriculum=True,
        ),
        Recipe(
            "warm",
            "from the weights of the trained `plain` Transformer of the same sizes and seed",
            begins_from=PLAIN,
        ),
        Recipe(
            "both",
            "`curriculum`, from the weights of the Transformer trained so",
            has_curriculum=True,
            begins_from="curriculum",
        ),
        Recipe(
            "distilled",
            "`plain`, on the translations of the deepest `plain` Transformer",
            is_distilled=True,
        ),
    )
}
