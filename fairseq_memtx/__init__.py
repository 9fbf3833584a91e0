"""Translation decoders with a memory: a fairseq user-dir (`--user-dir fairseq_memtx`).

Importing registers the models and tasks with fairseq and applies the repairs in `repairs`;
nothing else happens.
"""

__version__ = "0.1.0"

from . import repairs
from .errors import show_user_errors_in_one_line

repairs.apply()
show_user_errors_in_one_line()

from .criterions import compression  # noqa: E402, F401
from .models import compressive, feedback, language_model, transformer_xl  # noqa: E402, F401
from .tasks import language_modeling, translation  # noqa: E402, F401
