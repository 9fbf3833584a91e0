"""The native engine: encoder, decoder and beam search in C++, for decoding on a CPU.

`src` is the engine, `build` makes a library of it at first use, `library` calls it, `weights` hands
a model over, `searches` stands in front of the generator. docs/engine.md says how it works.
"""
