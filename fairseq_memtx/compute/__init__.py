"""How a training computes: building blocks that know nothing of fairseq and of models.

- `onednn`: oneDNN's matrix products, which have no public name in torch
- `plan`: which library multiplies, found by a short trial; the plan in use
- `linear`: a linear map and its gradients by the plan in use
- `dropout`: dropout masks from whole random words
- `attention`: in float32 where autocast would have it in bfloat16
- `functions`: puts the last three in the place of torch's for a while
- `token_loss`: cross entropy over a vocabulary, in pieces over tokens
- `adam`: fairseq's Adam in one pass over memory
"""
