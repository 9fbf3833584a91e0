"""fairseq's `--checkpoint-activations` for layers that read a bounded memory."""

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ..modules.segment_layer import SegmentLayer, SegmentLayerOutput
from ..plain.segment_stack import SegmentStack, whole_layer


class CheckpointedStack(SegmentStack):
    """A stack whose activations are not kept where fairseq's settings, `cfg`, say so."""

    cfg: Any

    def run_layer(self, layer: SegmentLayer, *args: Any) -> SegmentLayerOutput:
        """A layer, run again for its backward where that is asked for, with the same dropout."""
        if self.cfg.checkpoint_activations and self.training and torch.is_grad_enabled():
            return checkpoint(whole_layer, layer, *args, use_reentrant=False)
        return whole_layer(layer, *args)
