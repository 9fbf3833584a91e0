"""Steps of a search that are recorded and replayed on a CPU, in the place of CUDA graphs."""

from tests.fairseq_memtx.engine.operation_recorder import OperationRecorder


class StepRecorder(OperationRecorder):
    """Leaves the state as it was when it records, as a capture does."""

    def record(self, work):
        state = work.__self__.state
        before = [x.clone() for x in state]
        replay = super().record(work)
        for x, was in zip(state, before, strict=True):
            x.copy_(was)
        return replay
