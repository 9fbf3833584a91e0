"""Everything that fairseq has to know of us: importing this registers it, once.

The repairs come first, since the models are built on repaired fairseq.
"""

from . import repairs
from .ground.errors import show_user_errors_in_one_line

repairs.apply()
show_user_errors_in_one_line()

from .criterions import compression  # noqa: E402, F401
from .decoders import import_all  # noqa: E402
from .tasks import (  # noqa: E402, F401
    document_translation,
    labelled_stream,
    language_modeling,
    translation,
)

import_all()
