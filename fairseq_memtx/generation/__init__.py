"""fairseq's models and generator on one side, our search on the other: adapters of `decoding`."""
