"""Recordings of a search's steps; on a GPU they are CUDA graphs, see `engine.gpu.cuda_graphs`."""

import logging
from collections import OrderedDict
from collections.abc import Hashable

from ...engine.gpu.recording import Recorder, Work

logger = logging.getLogger(__name__)

MAX_RECORDINGS = 128


class StepGraphs:
    """Does work, by its form: as it is the first time, recorded the second, replayed from then on.

    Work of one form is always the same operations on the same tensors.

    Args:
        recorder: records.
        max_recordings: for one more the least recently used is dropped.
    """

    def __init__(self, recorder: Recorder, max_recordings: int = MAX_RECORDINGS):
        self._recorder, self._max_recordings = recorder, max_recordings
        self._broken = False
        self.forget()

    def forget(self) -> None:
        """Drop all recordings: their tensors are about to go."""
        self._rehearsed: set[Hashable] = set()
        # Beside each the work that it was made of, whose tensors live as long as it does.
        self.recordings: OrderedDict[Hashable, tuple[Work, Work]] = OrderedDict()

    def replay(self, form: Hashable, work: Work) -> None:
        """Do it; other work of the same form may be replayed in its place."""
        if self._broken:
            work()
        elif form not in self._rehearsed:
            self._rehearsed.add(form)
            self._recorder.rehearse(work)
        elif form in self.recordings or self._record(form, work):
            self.recordings.move_to_end(form)
            replay, _ = self.recordings[form]
            replay()
        else:
            work()

    def _record(self, form: Hashable, work: Work) -> bool:
        """Whether that could be done; it never is again after a failure."""
        try:
            self.recordings[form] = self._recorder.record(work), work
        except RuntimeError as error:
            logger.warning("no step will be replayed, decoding is slower: %s", error)
            self.forget()
            self._broken = True
            return False
        if len(self.recordings) > self._max_recordings:
            self.recordings.popitem(last=False)
        return True
