"""No text of a configuration is run, wherever fairseq would evaluate it."""

import re
from pathlib import Path

import fairseq
import pytest
from fairseq import options, utils
from fairseq.modules import MultiheadAttention
from fairseq.optim import adam

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.literals import literal
from fairseq_memtx.repairs import evaluated_settings

repairs.apply()

#: Calls `eval` on what its own command line says; examples are no part of the package.
THE_USERS_OWN = {"fairseq_cli.validate", "fairseq_cli.eval_lm"}
SOURCES = Path(fairseq.__file__).parent
EVALUATES = re.compile(r"(?<![.\w])(?:eval|exec)\(")


def test_every_module_that_evaluates_is_on_the_list() -> None:
    found = set()
    for path in SOURCES.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        if not name.startswith("examples.") and EVALUATES.search(path.read_text()):
            found.add(name)
    assert found == set(evaluated_settings.MODULES)


@pytest.mark.parametrize("evaluate", [utils.eval_str_list, utils.eval_str_dict, utils.eval_bool,
                                      options.eval_str_list])  # fmt: skip
def test_no_code_is_run(evaluate, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        evaluate(f"open({str(tmp_path / 'mark')!r}, 'w')")
    assert not (tmp_path / "mark").exists()


def test_what_fairseq_writes_is_still_read() -> None:
    assert utils.eval_str_list("[0.1, 0.2]") == [0.1, 0.2]
    assert utils.eval_str_list("4", type=int) == [4]
    assert utils.eval_str_list("1,2", type=int) == [1, 2]
    assert utils.eval_bool("True") and not utils.eval_bool("False")
    assert vars(adam)["eval"]("(0.9, 0.999)") == (0.9, 0.999)


def test_a_models_setting_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        MultiheadAttention(8, 2, xformers_att_config=f"open({str(tmp_path / 'mark')!r}, 'w')")
    assert not (tmp_path / "mark").exists()


def test_defect_fairseq_runs_a_models_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vars(utils)["eval"] is literal
    monkeypatch.delitem(vars(utils), "eval")
    MultiheadAttention(
        8, 2, xformers_att_config=f"open({str(tmp_path / 'mark')!r}, 'w').close() or None"
    )
    assert (tmp_path / "mark").exists()
