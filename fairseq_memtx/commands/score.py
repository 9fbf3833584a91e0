"""Scores of translations: BLEU and chrF, or with ``--model`` how likely a model finds each.

``memtx score --hypotheses H --references R``: computed by sacreBLEU (Post 2018), with its
signatures; cased, 13a tokenisation. With ``--comet MODEL --source S`` also COMET, where it is
installed.

``memtx score --model M --source S --hypotheses H``: a line for each pair, for rerankers.

``memtx score --model M --contrastive SUITE``: how often references win against wrong variants.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.commands import comet_scores, contrastive_scores, model_scores
from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError


def score(hypotheses: Sequence[str], references: Sequence[str]) -> dict:
    """Corpus BLEU, chrF2 and chrF2++ (pairs of words too), each with its signature."""
    from sacrebleu.metrics import BLEU, CHRF

    _check_counts(hypotheses, references)
    result: dict = {"lines": len(references)}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF()), ("chrf++", CHRF(word_order=2))):
        found = metric.corpus_score(list(hypotheses), [list(references)])
        result[name] = {
            "score": round(found.score, 2),
            "signature": str(metric.get_signature()),
        }
    result["length_ratio"] = round(_words(hypotheses) / max(1, _words(references)), 3)
    return result


def compare(
    baseline: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
) -> dict[str, float]:
    """Paired bootstrap (Koehn 2004) of the BLEU difference to a baseline, 1,000 samples."""
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    _check_counts(baseline, references)
    named: list[tuple[str, Sequence[str]]] = [("baseline", baseline), ("system", hypotheses)]
    test = PairedTest(named, {"BLEU": BLEU()}, [list(references)], test_type="bs", n_samples=1000)
    first, second = (result for result in test()[1]["BLEU"] if not isinstance(result, str))
    return {"difference": round(second.score - first.score, 2), "p_value": second.p_value or 0.0}


def _check_counts(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if not references:
        raise UserError("there are no references: give a file that is not empty")
    if len(hypotheses) != len(references):
        raise UserError(
            f"the hypotheses have {len(hypotheses)} lines, but the references have"
            f" {len(references)}: they have to be of the same text"
        )


def _words(lines: Sequence[str]) -> int:
    return sum(len(line.split()) for line in lines)


def score_files(args: argparse.Namespace) -> dict:
    """Score the files named on the command line and print the result as JSON."""
    hypotheses, references = read_lines(args.hypotheses), read_lines(args.references)
    result = score(hypotheses, references)
    if args.comet is not None:
        sources = read_lines(args.source)
        result["comet"] = comet_scores.comet(args.comet, sources, hypotheses, references)
    if args.source:
        result["copying_the_source"] = score(read_lines(args.source), references)["bleu"]["score"]
    if args.baseline:
        result["paired_bootstrap"] = compare(read_lines(args.baseline), hypotheses, references)
    print(json.dumps(result, indent=2))
    return result


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx score``."""
    parser = argparse.ArgumentParser(prog="memtx score", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--hypotheses", type=Path, help="detokenised translations")
    add("--references", type=Path, help="untouched references")
    add("--source", type=Path,
        help="with --references: also score the source itself, as the translation of who copies;"
        " with --model: what was translated")  # fmt: skip
    add("--baseline", type=Path, help="also test the difference to these translations")
    add("--comet", type=Path, metavar="MODEL",
        help="also score by this COMET checkpoint, with --source; needs the package"
        f" {comet_scores.PACKAGE}")  # fmt: skip
    defaults = model_scores.add_flags(parser)
    contrastive_scores.add_flags(parser)
    args = parser.parse_args(argv)
    if args.hypotheses is None and args.contrastive is None:
        parser.error("the following arguments are required: --hypotheses")
    args.model_defaults = defaults
    return args


def score_as_told(args: argparse.Namespace) -> None:
    """Do what the command line asks for.

    Raises:
        UserError: for flags that exclude each other, or files that cannot be used.
    """
    contrastive_scores.refuse_contradictions(args)
    if args.contrastive is not None:
        contrastive_scores.print_accuracy(args)
        return
    model_scores.refuse_contradictions(args, args.model_defaults)
    if args.model is None:
        score_files(args)
    else:
        model_scores.print_scores(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx score``."""
    args = parse_args(argv)
    return command_line.run(lambda: score_as_told(args))
