"""What a training does more than fairseq's, whatever model it trains.

- `whole_checkpoints`: a checkpoint appears under its name only when all of it is written
- `resuming`: a training goes on from the newest checkpoint that is whole
- `stopping`: SIGTERM and SIGINT save before the training ends
- `patience`: `--patience` counts on where a training was interrupted
- `one_at_a_time`: no two trainings write to one folder
- `data_of_checkpoints`: a checkpoint tells which dictionaries and subwords it was trained with

`repairs` makes these additions with its own changes, and takes them back. Beside them are the tools
of our own tasks: `told_tasks`, what the trainer tells a task that asks, and `host_memory`; and
`signal_watch`, which `stopping` stands on.
"""

from types import ModuleType

from . import (
    data_of_checkpoints,
    one_at_a_time,
    patience,
    resuming,
    stopping,
    whole_checkpoints,
)

ADDITIONS: tuple[ModuleType, ...] = (
    whole_checkpoints,
    resuming,
    stopping,
    patience,
    one_at_a_time,
    data_of_checkpoints,
)
