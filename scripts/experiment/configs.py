"""The named experiments: their data, model sizes, training and decoding options, as plain data.

Nothing here runs anything. `commands` turns an :class:`Experiment` into command lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from scripts.experiment.recipes import PLAIN


@dataclass(frozen=True)
class Data:
    """What is prepared by ``python -m data_prep``.

    ``train``, ``valid`` and ``test`` are prefixes below the corpora folder (``PREFIX.en[.gz]``);
    a pattern such as ``train/*`` stands for all prefixes it matches. ``vocab_size`` counts
    sentencepiece pieces shared by both languages; ``documents`` is the size of the sample.
    """

    command: str  # subcommand of data_prep: sample, parallel or wmt14
    vocab_size: int
    train: tuple[str, ...] = ()
    valid: str = ""
    test: str = ""
    documents: int | None = None
    source_lang: str = "en"
    target_lang: str = "de"

    @property
    def needs_corpora(self) -> bool:
        """Whether the text has to be given by ``--corpora``."""
        return self.command == "parallel"


@dataclass(frozen=True)
class Model:
    """Sizes of encoder and decoder; the decoder's depth is the experiment's variable.

    ``segment_len`` is in subwords, for the decoders that work in segments. Their memory is as long,
    the compressed memory half as long; it is shorter than most targets, so that both are used.
    """

    encoder_layers: int
    embed_dim: int
    ffn_dim: int
    heads: int
    dropout: float
    pre_norm: bool = True
    segment_len: int = 8

    def at_width(self, width: int) -> Model:
        """The same at another embedding dimension: heads keep their size, the feed-forward
        networks their proportion. 0 for its own.
        """
        if width in (0, self.embed_dim):
            return self
        heads = max(1, self.heads * width // self.embed_dim)
        ffn_dim = self.ffn_dim * width // self.embed_dim
        return replace(self, embed_dim=width, ffn_dim=ffn_dim, heads=heads)


@dataclass(frozen=True)
class Training:
    """Options of fairseq-train. ``max_tokens`` is target or source tokens in a batch, padding
    included; ``warmup_updates`` and ``max_update`` are updates, ``max_epoch`` epochs (0: no limit).
    Training stops after ``patience`` validations without a better loss (0: it does not): one at the
    end of each epoch, and one every ``save_interval_updates``.
    """

    max_tokens: int
    lr: float
    warmup_updates: int
    max_epoch: int = 0
    max_update: int = 0
    patience: int = 0
    update_freq: int = 1
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    keep_last_epochs: int = 8
    save_interval_updates: int = 0
    keep_interval_updates: int = 1
    log_interval: int = 50
    fp16: bool = False
    cpu_math: str = "torch"  # of our task's `--memtx-cpu-math`
    extra: tuple[str, ...] = ()  # further flags of fairseq-train, as typed on its command line


@dataclass(frozen=True)
class LearningSearch:
    """A short search for the learning rate and warm-up of each shape of model.

    Trainings of ``updates`` updates with each of ``lrs`` and the first of ``warmups`` (updates),
    then with the best rate and each other warm-up. The validation loss at their end decides. The
    recipe is `plain`, which shows all lengths, with one seed.
    """

    lrs: tuple[float, ...]
    warmups: tuple[int, ...]
    updates: int
    seed: int = 1

    @property
    def trials(self) -> int:
        """Trainings for each shape."""
        return len(self.lrs) + len(self.warmups) - 1


@dataclass(frozen=True)
class Narrow:
    """Models of another embedding dimension, beside: deeper and narrow against shallow and wide."""

    width: int
    depths: tuple[int, ...]


@dataclass(frozen=True)
class Decoding:
    """Options of generation and of the speed measurement.

    ``beam`` is the main one; ``other_beams`` are reported beside it. ``speed_batches`` are
    sentences in a batch; with one sentence at a time only the first
    ``speed_lines_single`` lines of the test set are translated, to stay affordable.
    """

    beam: int = 5
    other_beams: tuple[int, ...] = ()
    lenpen: float = 1.0
    batch_size: int = 32
    max_len_a: float = 1.2
    max_len_b: int = 10
    speed_batches: tuple[int, ...] = (1, 32)
    speed_lines_single: int = 100
    speed_lines_batched: int = 1000
    repeats: int = 5

    @property
    def beams(self) -> tuple[int, ...]:
        """All that are reported, the main one first."""
        return (self.beam, *(beam for beam in self.other_beams if beam != self.beam))

    def at_beam(self, beam: int) -> Decoding:
        """The same with another main beam."""
        return replace(self, beam=beam)


@dataclass(frozen=True)
class Experiment:
    """One named experiment: every decoder at every depth, by every recipe, with every seed.

    ``average_last`` checkpoints are averaged; a model has learnt when its BLEU is at least
    ``min_gain`` above the BLEU of copying the source. ``teacher_depth`` is that of the Transformer
    whose translations the recipe `distilled` trains on. Without a ``search`` all train with the
    learning rate of ``training``.
    """

    name: str
    summary: str
    data: Data
    model: Model
    training: Training
    decoding: Decoding = field(default_factory=Decoding)
    search: LearningSearch | None = None
    decoders: tuple[str, ...] = ("transformer", "feedback")
    depths: tuple[int, ...] = (1, 2)
    recipes: tuple[str, ...] = (PLAIN,)
    seeds: tuple[int, ...] = (1,)
    narrow: Narrow | None = None
    teacher_depth: int = 2
    average_last: int = 5
    min_gain: float = 10.0
    device: str = "cpu"  # cpu, or gpu where there is one
    published: bool = True  # results go to results/NAME rather than into the runs folder


_DEMO = Experiment(
    name="demo",
    summary="the embedded sample in a quarter of an hour on two cores",
    data=Data("sample", vocab_size=1500),
    model=Model(encoder_layers=2, embed_dim=128, ffn_dim=256, heads=4, dropout=0.1),
    training=Training(
        max_tokens=1200,
        lr=3e-3,
        warmup_updates=300,
        max_update=800,
        save_interval_updates=100,
        keep_interval_updates=3,
        cpu_math="float32",
    ),
    decoding=Decoding(speed_lines_single=30, speed_lines_batched=300),
    average_last=3,
    published=False,
)

_MULTI30K_DATA = Data(
    "parallel",
    vocab_size=6000,
    train=("multi30k/train",),
    valid="multi30k/val",
    test="multi30k/test_2016_flickr",
)

#: Small enough to be trained on a core until the loss no longer falls.
_MULTI30K = Experiment(
    name="multi30k",
    summary="image captions, 29,000 real pairs, until the loss no longer falls; 8 core-hours",
    data=_MULTI30K_DATA,
    model=Model(encoder_layers=3, embed_dim=128, ffn_dim=256, heads=4, dropout=0.2),
    training=Training(
        max_tokens=1000,
        lr=2e-3,
        warmup_updates=400,
        max_epoch=40,
        patience=4,
        keep_last_epochs=5,
        cpu_math="float32",
    ),
    search=LearningSearch(lrs=(1e-3, 2e-3, 4e-3), warmups=(300,), updates=300),
    decoding=Decoding(other_beams=(1,)),
    depths=(1, 2, 4),
    seeds=(1, 2),
    teacher_depth=4,
)

#: What was published first: larger, ten epochs, one learning rate for all.
_MULTI30K_256 = Experiment(
    name="multi30k-256",
    summary="the same at 256 dimensions for ten epochs, about an hour for each model on one core",
    data=_MULTI30K_DATA,
    model=Model(encoder_layers=3, embed_dim=256, ffn_dim=512, heads=4, dropout=0.2),
    training=Training(max_tokens=1000, lr=3e-3, warmup_updates=600, max_epoch=10),
    depths=(1,),
)

#: More than half of its pairs are short everyday sentences (Tatoeba): a curriculum of lengths is
#: one of domains too. At 128 dimensions two cores make five epochs of four models in a night; the
#: projection to the words is half of the products then. Batches are small because a core computes
#: as many words a second in them, and models this small learn more from three updates than from
#: one of three times the words: in a trial without curriculum the training loss was 8.3 bits after
#: 630,000 target subwords in batches of 1,500 tokens; with batches of 5,000 and the curriculum the
#: validation loss was that after 2.2 million.
_WMT14_MINI = Experiment(
    name="wmt14-mini",
    summary="288,000 real pairs of mixed text, newstest2013 and newstest2014; 12 core-hours",
    data=Data(
        "parallel",
        vocab_size=8000,
        train=("train/*",),
        valid="wmt14/newstest2013",
        test="wmt14/newstest2014",
    ),
    model=Model(encoder_layers=3, embed_dim=128, ffn_dim=512, heads=4, dropout=0.1, segment_len=16),
    training=Training(
        max_tokens=1500,
        lr=2e-3,
        warmup_updates=250,
        max_epoch=5,
        patience=6,
        keep_last_epochs=5,
        save_interval_updates=1000,
        keep_interval_updates=5,
        cpu_math="float32",
    ),
    search=LearningSearch(lrs=(2e-3, 4e-3), warmups=(250,), updates=250),
    decoding=Decoding(other_beams=(1,), speed_lines_single=60, speed_lines_batched=400),
    recipes=("curriculum",),
    min_gain=1.5,  # news after a few passes over little of other text: low, but more than copying
)

_WMT14 = Experiment(
    name="wmt14",
    summary="the official 4.5 million pairs, the sizes of the papers; wants a GPU",
    data=Data("wmt14", vocab_size=32000),
    model=Model(
        encoder_layers=6,
        embed_dim=512,
        ffn_dim=2048,
        heads=8,
        dropout=0.1,
        pre_norm=False,
        segment_len=16,
    ),
    training=Training(
        max_tokens=4000,
        lr=7e-4,
        warmup_updates=4000,
        max_update=100_000,
        patience=20,
        update_freq=8,
        clip_norm=0.0,
        keep_last_epochs=10,
        save_interval_updates=2000,
        keep_interval_updates=5,
        fp16=True,
    ),
    search=LearningSearch(lrs=(5e-4, 7e-4, 1e-3), warmups=(1000, 2500), updates=2500),
    decoding=Decoding(beam=4, other_beams=(1,), lenpen=0.6),
    depths=(1, 2, 4, 6),
    recipes=("curriculum",),
    narrow=Narrow(width=256, depths=(6,)),
    teacher_depth=6,
    device="gpu",
)

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        _DEMO,
        replace(
            _DEMO,
            name="sample",
            summary="the embedded sample, trained for longer",
            training=replace(
                _DEMO.training, max_update=5000, warmup_updates=500, save_interval_updates=250
            ),
            decoding=Decoding(),
            depths=(1, 2, 4),
        ),
        _MULTI30K,
        _MULTI30K_256,
        _WMT14_MINI,
        _WMT14,
    )
}
