"""`memtx decoders`: what there is, and the flags of each."""

import dataclasses

import pytest

from fairseq_memtx.commands import decoders
from fairseq_memtx.config import flag
from fairseq_memtx.decoders import DECODERS


def test_it_lists_every_decoder_with_its_architectures(capsys: pytest.CaptureFixture[str]) -> None:
    assert decoders.main([]) == 0
    told = capsys.readouterr().out
    for name, entry in DECODERS.items():
        assert f"{name}: " in told
        assert f"--arch {entry.architecture}, " in told and entry.language_model in told


@pytest.mark.parametrize("name", DECODERS)
def test_it_tells_the_flags_of_a_decoder(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert decoders.main([name]) == 0
    lines = capsys.readouterr().out.split("\n")
    options = DECODERS[name].options
    for item in () if options is None else dataclasses.fields(options):
        assert flag(item.name) in lines
    assert (flag("encoder_memory") in lines) == (options is not None)


def test_a_wrong_name_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert decoders.main(["parrot"]) != 0
    assert "there is no decoder `parrot`: choose one of transformer," in capsys.readouterr().err
