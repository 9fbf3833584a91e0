"""What a server takes at most."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RequestLimits:
    """Bounds on requests.

    Attributes:
        lines: of one request.
        characters: of one line.
        body: bytes of one request.
        waiting: lines that wait, of all requests for one model; more are refused at once.
        seconds: from a request's arrival until it is given up.
        window: seconds that a request waits for company before its batch is searched.
        batch: lines that are searched together.
        beam: the widest beam.
        connections: that are open at once.
    """

    lines: int = 100
    characters: int = 2_000
    body: int = 1 << 20
    waiting: int = 1_000
    seconds: float = 60.0
    window: float = 0.005
    batch: int = 64
    beam: int = 20
    connections: int = 256
