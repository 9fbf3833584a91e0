"""The manual engine, its loops replayed from recordings: for devices whose time goes in launches.

A form of batch (`rounding`) runs step by step the first time and is recorded the second time.
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

from .arena import Arena, Counter
from .gradients import Weights
from .interface import Recurrence, RecurrenceOutput
from .manual import Run, begin_loop, no_autocast, run
from .recording import LAST_STATE, FixedRun, Outputs, Recorder, Recording, ReplayedRun
from .rounding import Batch

logger = logging.getLogger(__name__)

# A recording of 6 layers and 30 positions has about ten thousand operations.
MAX_RECORDINGS = 64
MAX_FORMS = 4096
# The batch that is larger than all before it is followed by others: room for them.
HEADROOM = 1.25


class Replayer:
    """An engine with its recordings.

    Args:
        make_recorder: called for the first recording, and after all have been dropped.
        max_recordings: the least recently used is dropped when there are more.
        record_at: how often a form must have come before it is recorded.
    """

    def __init__(
        self,
        make_recorder: Callable[[], Recorder],
        max_recordings: int = MAX_RECORDINGS,
        record_at: int = 2,
    ):
        self._make_recorder = make_recorder
        self._max_recordings, self._record_at = max_recordings, record_at
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._refused: set[Hashable] = set()
        self._outputs: Outputs = frozenset({LAST_STATE})
        self._live: Callable[[], ReplayedRun | None] = lambda: None
        self._broken = False
        self.drop_all()

    def drop_all(self) -> None:
        """Forget all recordings and give their memory back."""
        self.recordings: OrderedDict[Hashable, Recording] = OrderedDict()
        self._recorder: Recorder | None = None
        self._arena: Arena | None = None

    def __call__(self, r: Recurrence) -> RecurrenceOutput:
        """Run the recurrence."""
        return run(r, self._begin)

    def _begin(
        self, r: Recurrence, weights: Weights, dtype: torch.dtype, keep: bool
    ) -> tuple[Run | None, list[Tensor], Tensor | None]:
        """See `manual.Begin`."""
        if self._broken or self._live() is not None:
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

    def _recording(self, batch: Batch) -> Recording | None:
        """The batch's recording, made if it is time to."""
        recording = self.recordings.get(batch.form)
        if recording is not None:
            self.recordings.move_to_end(batch.form)
            return recording
        if batch.form in self._refused or self._sightings(batch.form) < self._record_at:
            return None
        try:
            return self._record(batch)
        except RuntimeError as error:
            self._refuse(batch, error)
            return None

    def _sightings(self, form: Hashable) -> int:
        """How often the form has come, this time included."""
        self._seen[form] = self._seen.pop(form, 0) + 1
        if len(self._seen) > MAX_FORMS:
            self._seen.popitem(last=False)
        return self._seen[form]

    def _record(self, batch: Batch) -> Recording:
        if self._recorder is None:
            self._recorder = self._make_recorder()
        counter = Counter()
        self._recorder.rehearse(lambda: FixedRun(batch, self._outputs, counter.make).all())
        arena = self._reserve(counter.num_bytes, batch.r.inputs.device)
        while len(self.recordings) >= self._max_recordings:
            self.recordings.popitem(last=False)
        recording = Recording(batch, self._outputs, self._recorder, arena.make)
        self.recordings[batch.form] = recording
        return recording

    def _reserve(self, num_bytes: int, device: torch.device) -> Arena:
        """An arena that is large enough, empty; recordings in a smaller one are dropped."""
        if self._arena is None or self._arena.num_bytes < num_bytes:
            self.recordings.clear()
            self._arena = None  # given back before the next is asked for
            self._arena = Arena(int(HEADROOM * num_bytes), device)
        self._arena.start()
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
