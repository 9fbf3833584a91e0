"""Translation over HTTP: a JSON interface and a page, for this machine alone unless told otherwise.

`batching` lets requests share batches and knows nothing of HTTP, `requests` says what may be asked,
`app` answers (Starlette), `metrics` counts. `memtx serve` starts it.
"""
