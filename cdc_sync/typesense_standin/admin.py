"""``/standin/…``: paths that a real server does not have, to arm faults and to look inside.

``GET|PUT|POST|DELETE /standin/faults``, ``GET|DELETE /standin/requests``. All need the key.
"""

import re
from typing import TYPE_CHECKING

import msgspec

from . import errors
from .errors import Refusal
from .faults import read_faults
from .http import Request, Response
from .jsonvalue import encode

if TYPE_CHECKING:
    from .app import App


def answer_admin(app: "App", request: Request) -> Response | None:
    """The answer of an admin path, or None for any other path."""
    if request.raw_segments[:1] != ("standin",):
        return None
    if not app.is_authorised(request):
        return Response(401, errors.FORBIDDEN.encode())
    match request.method, request.raw_segments[1:]:
        case "GET", ("faults",):
            pass
        case (("PUT" | "POST"), ("faults",)):
            try:
                faults = read_faults(request.body)
            except (msgspec.MsgspecError, re.error) as error:
                return Response(400, Refusal(400, str(error), compact=True).body())
            if request.method == "PUT":
                app.faults.set(faults)
            else:
                for fault in faults:
                    app.faults.add(fault)
        case "DELETE", ("faults",):
            app.faults.clear()
        case "GET", ("requests",):
            return Response(200, encode(_requests(app)))
        case "DELETE", ("requests",):
            app.requests.clear()
            app.context.lanes.reset_max_in_flight()
            return Response(200, encode(_requests(app)))
        case _:
            return None
    return Response(200, encode({"faults": app.faults.report()}))


def _requests(app: "App") -> dict[str, object]:
    lanes = app.context.lanes
    return {
        "total": app.requests.total,
        "by_status": dict(app.requests.by_status),
        "pending_write_batches": lanes.pending_entries,
        "max_in_flight": lanes.max_in_flight(),
        "requests": app.requests.entries(),
    }
