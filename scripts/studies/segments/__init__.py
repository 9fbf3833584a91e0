"""Studies of the decoders that work in segments: what they cost, and where a gradient stops."""
