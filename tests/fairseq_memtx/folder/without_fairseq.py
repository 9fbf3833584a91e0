"""Translate in an interpreter from which fairseq is hidden, and tell what was found.

The argument is JSON: a list of `wishes.ask`'s arguments; so is what is printed.
"""

import json
import sys

HIDDEN = ("fairseq", "fairseq_cli", "omegaconf", "hydra")


class Hides:
    """Lets no import of fairseq's succeed, nor of what only fairseq needs."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"{name} is hidden")


if __name__ == "__main__":
    sys.meta_path.insert(0, Hides())  # type: ignore[arg-type]
    from tests.fairseq_memtx.folder.wishes import ask

    print(json.dumps([ask(*one) for one in json.loads(sys.argv[1])]))
    assert not set(HIDDEN) & {name.split(".")[0] for name in sys.modules}
    assert "torch._dynamo" not in sys.modules, "torch's compiler takes seconds to import"
