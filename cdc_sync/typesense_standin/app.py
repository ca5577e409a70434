"""A request's way through the server: pre-checks, write lane, handler, answer, and faults.

Pre-checks come in the order of the real server (0.2): 404 unknown route, 503 readiness, 429,
401, then for writes 422.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from . import errors
from .admin import answer_admin
from .context import Call, Context
from .errors import Refusal
from .faults import OUT_OF_DISK, Faults, Plan, cut_response
from .http import Exchange, Request, Response
from .importer import CHUNK_BYTES, lose_cut_characters
from .jsonvalue import ParseError, drop_invalid_utf8, parse
from .requestlog import RequestLog
from .routes import Route, find_route

log = logging.getLogger("typesense_standin")
_KEY = "x-typesense-api-key"
_LAG_CHECK_S = 3.0
_DEFAULT_WRITE_LAG = 500


class App:
    """One server's state and its request handling; lives in one event loop."""

    def __init__(self, api_key: str, context: Context) -> None:
        self.context = context
        self.faults = Faults()
        self.requests = RequestLog()
        self._api_key = api_key
        self._tasks: set[asyncio.Task[None]] = set()
        self._lag_checked_s = 0.0
        self._lag_limit = _DEFAULT_WRITE_LAG
        self._is_lagging = False

    def handle(self, exchange: Exchange) -> None:
        """Start answering a request that has arrived whole; queues writes before it returns."""
        request = exchange.request
        entry = self.requests.began(request, time.time())
        found = find_route(request)
        if found is None:
            admin = answer_admin(self, request)
            self._spawn(self._answer(exchange, admin or _router(404, errors.NOT_FOUND), entry))
            return
        route, path_params = found
        plan = self.faults.plan(request, route.write is not None)
        refused = self._refused(route, request, plan)
        if refused is not None:
            self._spawn(self._answer(exchange, refused, entry))
        elif route.write is None:
            self._spawn(self._read(exchange, route, path_params, plan, entry))
        else:
            self._queue(exchange, route, path_params, plan, entry)

    def is_authorised(self, request: Request) -> bool:
        """Whether the key is right; a header beats the parameter."""
        given = request.headers.get(_KEY)
        if given is None:
            given = request.params.get(_KEY, "")
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._api_key.encode())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refused(self, route: Route, request: Request, plan: Plan) -> Response | None:
        is_write = route.write is not None
        if not route.skips_readiness and not self.context.is_ready:
            return _router(503, errors.LAGGING)
        if plan.has("lagging") or (is_write and self._lags()):
            return _router(503, errors.LAGGING)
        if plan.has("rate_limit"):
            return _router(429, errors.RATE_LIMITED)
        if not route.is_open and not self.is_authorised(request):
            return _router(401, errors.FORBIDDEN)
        if plan.has("out_of_resources") and request.method != "DELETE":
            return _message(422, OUT_OF_DISK)
        if is_write and self.context.settings.get("skip-writes"):
            return _message(422, "Skipping writes.")
        wanted = plan.fault("status")
        if wanted is not None:
            return _router(wanted.status, f'{{ "message": "{wanted.message}"}}')
        if _is_alter(request) and request.segments[1] in self.context.altering:
            return _message(422, "Another collection update operation is in progress.")
        return None

    def _lags(self) -> bool:
        """The write gate: recomputed every 3 seconds from the queue, as in the real server.

        A changed limit counts at once, so that tests need not wait.
        """
        now = time.monotonic()
        limit = int(self.context.settings.get("healthy-write-lag", _DEFAULT_WRITE_LAG))
        if now - self._lag_checked_s >= _LAG_CHECK_S or limit != self._lag_limit:
            self._is_lagging = self.context.lanes.pending_entries > limit
            self._lag_checked_s, self._lag_limit = now, limit
        return self._is_lagging

    async def _read(
        self,
        exchange: Exchange,
        route: Route,
        path_params: dict[str, str],
        plan: Plan,
        entry: dict[str, Any],
    ) -> None:
        assert route.read is not None
        params = {**path_params, **exchange.request.params}
        delay = plan.fault("delay_before_apply")
        if delay is not None:
            await asyncio.sleep(delay.seconds)
        try:
            response = route.read(self.context, Call(exchange.request, params, ""))
        except Refusal as refusal:
            response = Response(refusal.status, refusal.body(), route.error_type)
        await self._deliver(exchange, response, plan, entry)

    def _queue(
        self,
        exchange: Exchange,
        route: Route,
        path_params: dict[str, str],
        plan: Plan,
        entry: dict[str, Any],
    ) -> None:
        """Bind the write to a collection and put it into that collection's lane."""
        request = replace(exchange.request, body=drop_invalid_utf8(exchange.request.body))
        if plan.has("lose_cut_characters") and len(request.body) >= CHUNK_BYTES:
            request = replace(request, body=lose_cut_characters(request.body))
        never = plan.fault("never_answer")
        if plan.has("reset_before_apply") or (never is not None and not never.applied):
            self.requests.ended(entry, None, time.time())
            exchange.reset() if plan.has("reset_before_apply") else exchange.abandon()
            return
        params = {**path_params, **request.params}
        target = self.context.store.resolve(_bound_name(request, params))
        lane = target if "alias" not in path_params else f"alias {params['alias']}"
        call = Call(request, params, target, plan.poison, _line_limit(request, plan))
        if _is_alter(request):
            progress = {"alter_history": [], "altered_docs": 0, "collection": params["collection"]}
            self.context.altering[params["collection"]] = progress | {"validated_docs": 0}

        async def job() -> None:
            await self._execute(exchange, route, call, plan, entry, lane)

        entries = max(1, len(request.body) // CHUNK_BYTES) if "import" in request.segments else 1
        lanes = self.context.lanes
        lanes.request_began(lane)
        late = plan.fault("apply_late")
        if late is not None and late.outside_queue:
            asyncio.get_running_loop().call_later(late.seconds, lanes.put, lane, job, entries)
        else:
            lanes.put(lane, job, entries)

    async def _execute(
        self,
        exchange: Exchange,
        route: Route,
        call: Call,
        plan: Plan,
        entry: dict[str, Any],
        lane: str,
    ) -> None:
        """Run a write as the head of its lane, then answer without holding the lane."""
        for fault in (plan.fault("delay_before_apply"), plan.fault("apply_late")):
            if fault is not None and not fault.outside_queue:
                await asyncio.sleep(fault.seconds)
        assert route.write is not None
        try:
            response = await route.write(self.context, call)
        except Refusal as refusal:
            response = Response(refusal.status, refusal.body(), route.error_type)
        except Exception:
            # The lane must go on whatever a handler does; the log says what to mend.
            log.exception("handler failed: %s %s", call.request.method, call.request.target)
            response = _message(500, "The stand-in failed; see its log.")
        finally:
            if _is_alter(call.request):
                self.context.altering.pop(call.params["collection"], None)
        self.context.committed_entries += 1
        self._spawn(self._deliver(exchange, response, plan, entry, lane))

    async def _deliver(
        self,
        exchange: Exchange,
        response: Response,
        plan: Plan,
        entry: dict[str, Any],
        lane: str | None = None,
    ) -> None:
        """Answer, or do what a fault wants instead."""
        try:
            delay = plan.fault("delay_after_apply")
            if delay is not None:
                await asyncio.sleep(delay.seconds)
            if not plan or not self._cut_short(exchange, response, plan, entry):
                await self._answer(exchange, response, entry)
        finally:
            if lane is not None:
                self.context.lanes.request_ended(lane)

    def _cut_short(self, exchange: Exchange, response: Response, plan: Plan, entry: dict[str, Any]) -> bool:
        if plan.has("never_answer"):
            exchange.abandon()
        elif plan.has("reset_after_apply") or plan.has("reset_before_apply"):
            exchange.reset()
        elif (cut := plan.fault("truncate")) is not None:
            exchange.start(response.status, response.content_type)
            exchange.write(cut_response(response, cut.lines))
            exchange.close()
        elif plan.has("append_422") and response.content_type == errors.TEXT:
            exchange.start(response.status, response.content_type)
            tail = _message(422, OUT_OF_DISK).body
            exchange.write(response.body + (b"\n" if response.body else b"") + tail)
            exchange.finish()
        else:
            return False
        self.requests.ended(entry, None, time.time())
        return True

    async def _answer(self, exchange: Exchange, response: Response, entry: dict[str, Any]) -> None:
        self.requests.ended(entry, response.status, time.time())
        await exchange.send(response)


def _is_alter(request: Request) -> bool:
    return request.method == "PATCH" and len(request.segments) == 2


def _router(status: int, body: str) -> Response:
    return Response(status, body.encode())


def _message(status: int, text: str) -> Response:
    return Response(status, Refusal(status, text).body())


def _bound_name(request: Request, params: dict[str, str]) -> str:
    """The name whose lane a write belongs to; the body names it when a collection is created."""
    if "collection" in params:
        return params["collection"]
    if request.raw_segments == ("collections",):
        try:
            body = parse(request.body)
        except ParseError:
            return ""
        name = body.get("name") if isinstance(body, dict) else None
        return name if isinstance(name, str) else ""
    return ""


def _line_limit(request: Request, plan: Plan) -> int | None:
    fault = plan.fault("append_422")
    if fault is None:
        return None
    return fault.lines if fault.lines is not None else request.body.count(b"\n") // 2
