"""Says what to install where fairseq cannot be imported.

fairseq is no requirement of our package, since `fairseq` and `fairseq-fixed` install the same
folder. May go once one of them is that requirement.
"""

import importlib


def apply() -> None:
    """Raise `ImportError` with one line that says what to install, if there is no fairseq."""
    try:
        importlib.import_module("fairseq")
    except ModuleNotFoundError as error:
        if error.name != "fairseq":
            raise
        problem = "which is not installed"
    except ValueError as error:  # fairseq 0.12.2: dataclass defaults that Python 3.11 rejects
        problem = f"but the one installed does not import on this Python ({error})"
    else:
        return
    raise ImportError(
        f"fairseq_memtx needs fairseq, {problem}: pip install fairseq-fixed==0.12.3.1"
    ) from None
