"""The answers: `/v1/translate`, `/v1/explain`, `/v1/models`, `/v1/health`, `/metrics`, and a page.

No request names a file. Texts and answers are JSON; a request from another site's page is refused,
since a browser does not send it this type without asking first, and by its `Host`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from ..ground.errors import UserError
from .batching import BusyError, ClosedError, SharedBatches
from .limits import RequestLimits
from .metrics import Metrics
from .page import Page
from .requests import Asked, RefusedError, asked, checked_lines, invalid, told, wish

logger = logging.getLogger(__name__)

Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Served:
    """A model that is served.

    Attributes:
        about: what is told of it.
        batches: its thread.
        explain: makes a page of a line, a beam and a number of translations; in its thread.
    """

    about: Mapping[str, Any]
    batches: SharedBatches
    explain: Callable[[str, int, int], str]


class Server:
    """The answers of one server.

    Args:
        models: by name; the first is the one that is meant where none is named.
        limits: of requests.
        metrics: that are counted.
    """

    def __init__(
        self, models: Mapping[str, Served], limits: RequestLimits, metrics: Metrics
    ) -> None:
        self.models, self.limits, self.metrics = models, limits, metrics
        self.page = Page()

    def app(self, hosts: Sequence[str]) -> Starlette:
        """What a web server runs; `hosts`: the names under which it may be asked."""
        routes = [
            Route("/", self.counted("/", self.home)),
            Route("/v1/models", self.counted("/v1/models", self.list_models)),
            Route("/v1/health", self.counted("/v1/health", self.health)),
            Route("/v1/translate", self.counted("/v1/translate", self.translate), methods=["POST"]),
            Route("/v1/explain", self.counted("/v1/explain", self.explain)),
            Route("/metrics", self.tell_metrics),
        ]
        trusted = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
        return Starlette(routes=routes, middleware=[trusted], lifespan=self.lifespan)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """End the models' threads with the server."""
        yield
        for served in self.models.values():
            await asyncio.to_thread(served.batches.close)

    def counted(self, path: str, answer: Answer) -> Answer:
        """An answer that is counted and timed, and in which a refusal is an answer too."""

        async def counting(request: Request) -> Response:
            start = time.perf_counter()
            try:
                response = await answer(request)
            except RefusedError as error:
                response = refusal(error)
            except ClientDisconnect:
                response = Response(status_code=499)
            except Exception:
                logger.exception("%s failed", path)
                response = refusal(
                    RefusedError(500, "failed", "the server failed: its log says how")
                )
            self.metrics.requests.labels(path, str(response.status_code)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
            return response

        return counting

    async def home(self, request: Request) -> Response:
        """The page to type into."""
        return HTMLResponse(self.page.html, headers=self.page.headers)

    async def list_models(self, request: Request) -> Response:
        """The models, and what may be asked of them."""
        models = [{"name": name, **served.about} for name, served in self.models.items()]
        limits = {name: getattr(self.limits, name) for name in ("lines", "characters", "beam")}
        return JSONResponse({"models": models, "limits": limits})

    async def health(self, request: Request) -> Response:
        """Whether all models work."""
        ended = [name for name, served in self.models.items() if not served.batches.is_alive]
        status = {"status": "failed", "ended": ended} if ended else {"status": "ok"}
        return JSONResponse(status, 503 if ended else 200)

    async def tell_metrics(self, request: Request) -> Response:
        """What was counted, as Prometheus reads it."""
        return Response(self.metrics.text(), headers={"content-type": self.metrics.content_type})

    async def translate(self, request: Request) -> Response:
        """The translations of the lines of a request."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RefusedError(415, "type", "the body's type has to be application/json")
        wanted = asked(await self.body(request), self.limits)
        name, served = self.model(wanted.model)
        found = await self.finished(request, lambda: self._search(served, wanted))
        lines = [[told(one) for one in translations] for translations in found]
        return JSONResponse({"model": name, "translations": lines})

    def _search(self, served: Served, wanted: Asked) -> Future:
        return served.batches.translate(wanted.wish, wanted.lines)

    async def explain(self, request: Request) -> Response:
        """A page that shows what a model attended to."""
        query = request.query_params
        (line,) = checked_lines([query.get("line", "")], self.limits)
        if not line.strip():
            raise invalid("`line` is blank: there is nothing to explain")
        try:
            numbers = {name: int(query[name]) for name in ("beam", "nbest") if name in query}
        except ValueError as error:
            raise invalid("`beam` and `nbest` have to be whole numbers") from error
        search = wish(numbers, self.limits)
        _, served = self.model(query.get("model"))
        page = await self.finished(
            request,
            lambda: served.batches.alone(lambda: served.explain(line, search.beam, search.nbest)),
        )
        return HTMLResponse(page, headers={"x-content-type-options": "nosniff"})

    def model(self, name: str | None) -> tuple[str, Served]:
        """The model of a name, or the first.

        Raises:
            RefusedError: where there is none.
        """
        name = next(iter(self.models)) if name is None else name
        if name not in self.models:
            raise RefusedError(404, "model", f"there is no model of that name: {list(self.models)}")
        return name, self.models[name]

    async def body(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
            RefusedError: where it is too large or too slow.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self.limits.body:
                        raise RefusedError(
                            413, "size", f"a request may have {self.limits.body:,} bytes"
                        )
        except TimeoutError as error:
            raise RefusedError(408, "slow", "the request did not come to its end") from error
        return bytes(body)

    async def finished(self, request: Request, start: Callable[[], Future]) -> Any:
        """The result of a model's work, unless it takes too long or the client goes.

        Raises:
            RefusedError: where there is none.
            ClientDisconnect: where nobody waits for it.
        """
        try:
            future = asyncio.wrap_future(start())
        except BusyError as error:
            raise RefusedError(503, "busy", "too many requests wait: try again later") from error
        except ClosedError as error:
            raise RefusedError(503, "closing", "the server is about to end") from error
        gone = asyncio.ensure_future(until_gone(request))
        try:
            await asyncio.wait(
                {future, gone}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if future.done():
                return future.result()
            if gone.done():
                raise ClientDisconnect
            raise RefusedError(504, "time", f"it took more than {self.limits.seconds:g} s")
        except UserError as error:
            raise invalid(str(error)) from error
        except FloatingPointError as error:
            raise RefusedError(500, "numbers", str(error)) from error
        finally:
            future.cancel()  # where it still waits; what is under way goes on to its end
            gone.cancel()


async def until_gone(request: Request) -> None:
    """Wait until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def refusal(error: RefusedError) -> Response:
    """The answer to what is refused."""
    later = {"retry-after": "1"} if error.status == 503 else {}
    body = json.dumps(error.told()).encode()
    return Response(body, error.status, {**later, "content-type": "application/json"})
