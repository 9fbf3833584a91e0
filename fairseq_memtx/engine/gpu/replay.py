"""The manual engine, its loops replayed from recordings: for devices whose time goes in launches.

A form of batch (`rounded_sizes`) runs step by step the first time and is recorded the second time.
Recordings lie over each other in one memory (`arena`): from a forward to the end of its backward
no other can be replayed, and batches in between run step by step. Random numbers stay outside:
dropout masks are data. Equal to `manual` up to rounding.
"""

import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from ..gradients import Weights
from ..interface import Recurrence, RecurrenceOutput
from ..manual import Run, begin_loop, no_autocast, run_manual
from .arena import Arena, Counter
from .recording import LAST_STATE, FixedRun, Outputs, Recorder, Recording, ReplayedRun
from .rounded_sizes import Batch

logger = logging.getLogger(__name__)

# A recording of 6 layers and 30 positions has about nine thousand operations.
MAX_RECORDINGS = 128
# To record takes about as long as so many batches step by step.
REPLAYS_TO_PAY = 10
MAX_FORMS = 4096
# The batch that is larger than all before it is followed by others: room for them.
HEADROOM = 1.25


class Replayer:
    """An engine with its recordings.

    Args:
        make_recorder: called for the first recording, and after all have been dropped.
        max_recordings: for one more the least recently used is dropped, if those made so far have
            paid for themselves; else batches of more forms than that would do nothing but record.
        record_at: how often a form must have come before it is recorded.
        replays_to_pay: replays that pay for a recording.
    """

    def __init__(
        self,
        make_recorder: Callable[[], Recorder],
        max_recordings: int = MAX_RECORDINGS,
        record_at: int = 2,
        replays_to_pay: int = REPLAYS_TO_PAY,
    ):
        self._make_recorder = make_recorder
        self._max_recordings, self._record_at = max_recordings, record_at
        self._replays_to_pay, self._num_replays, self._num_made = replays_to_pay, 0, 0
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._refused: set[Hashable] = set()
        self._outputs: Outputs = frozenset({LAST_STATE})
        self._live: Callable[[], ReplayedRun | None] = lambda: None
        self._broken = self._told_of_waiting = False
        self.drop_all()

    def drop_all(self) -> None:
        """Forget all recordings and give their memory back."""
        self.recordings: OrderedDict[Hashable, Recording] = OrderedDict()
        self._recorder: Recorder | None = None
        self._arena: Arena | None = None

    def __call__(self, r: Recurrence) -> RecurrenceOutput:
        """Run the recurrence."""
        return run_manual(r, self._begin)

    def _begin(
        self, r: Recurrence, weights: Weights, dtype: torch.dtype, keep: bool
    ) -> tuple[Run | None, list[Tensor], Tensor | None]:
        """Replay the forward pass of a recording, or do it by the loop (`manual.Begin`)."""
        if self._broken or self._waits():
            return begin_loop(r, weights, dtype, keep)
        with no_autocast(r.inputs), torch.no_grad():
            batch = Batch(r, weights, dtype, keep)
            recording = self._recording(batch)
            if recording is None:
                return begin_loop(r, weights, dtype, keep)
            states, probs = recording.forward(batch)
        if not keep:
            return None, states, probs
        replayed = ReplayedRun(recording, batch, self._expect)
        self._live = weakref.ref(replayed)
        return replayed, states, probs

    def _waits(self) -> bool:
        """Whether the memory is in use, by a forward whose backward may still come."""
        waits = self._live() is not None
        if waits and not self._told_of_waiting:
            self._told_of_waiting = True
            logger.info("a batch runs step by step, since one before it awaits its backward")
        return waits

    def _recording(self, batch: Batch) -> Recording | None:
        """The batch's recording, made if it is time to."""
        recording = self.recordings.get(batch.form)
        if recording is not None:
            self.recordings.move_to_end(batch.form)
            self._num_replays += 1
            return recording
        if batch.form in self._refused or self._sightings(batch.form) < self._record_at:
            return None
        try:
            return self._record(batch) if self._has_place() else None
        except RuntimeError as error:
            self._refuse(batch, error)
            return None

    def _sightings(self, form: Hashable) -> int:
        """How often the form has come, this time included."""
        self._seen[form] = self._seen.pop(form, 0) + 1
        if len(self._seen) > MAX_FORMS:
            self._seen.popitem(last=False)
        return self._seen[form]

    def _has_place(self) -> bool:
        """Whether one more may be recorded; makes place for it."""
        if not self.recordings:
            return True
        if len(self.recordings) < self._max_recordings and self._the_recorder().has_room():
            return True
        if self._num_replays < self._replays_to_pay * self._num_made:
            return False
        self.recordings.popitem(last=False)
        return True

    def _the_recorder(self) -> Recorder:
        if self._recorder is None:
            self._recorder = self._make_recorder()
        return self._recorder

    def _record(self, batch: Batch) -> Recording:
        recorder, counter = self._the_recorder(), Counter()
        recorder.rehearse(lambda: FixedRun(batch, self._outputs, counter.make).all())
        arena = self._reserve(counter.num_bytes, batch.r.inputs.device)
        recording = Recording(batch, self._outputs, recorder, arena.make)
        self.recordings[batch.form] = recording
        self._num_made += 1
        return recording

    def _reserve(self, num_bytes: int, device: torch.device) -> Arena:
        """An arena that is large enough, empty; recordings in a smaller one are dropped."""
        if self._arena is None or self._arena.num_bytes < num_bytes:
            self.recordings.clear()
            self._arena = None  # given back before the next is asked for
            self._arena = Arena(int(HEADROOM * num_bytes), device)
        self._arena.rewind()
        return self._arena

    def _refuse(self, batch: Batch, error: RuntimeError) -> None:
        """Go on step by step: for this form where memory is short, else for all."""
        self.drop_all()
        self._refused.add(batch.form)
        self._broken = not isinstance(error, torch.OutOfMemoryError)
        what = "nothing" if self._broken else f"no batch of the sizes {batch.rounded}"
        logger.warning("%s will be replayed, training is slower: %s", what, error)

    def _expect(self, outputs: Outputs) -> None:
        """Record gradients of these outputs too from now on."""
        self._outputs |= outputs
        self.recordings.clear()
