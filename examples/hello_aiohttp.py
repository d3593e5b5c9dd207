"""A small web service on aiohttp: a page for a browser, JSON for a program, an answer that takes its time.

Nothing in it knows tepal. `make run` serves it with `tepal run examples/hello_aiohttp.py`; `python examples/hello_aiohttp.py`
serves it on asyncio's own loop, and the page says which one answers.

    tepal run examples/hello_aiohttp.py [port]

The port can also come from the environment (PORT; 8080 otherwise), the address to listen on from HOST (127.0.0.1
otherwise). Ctrl-C finishes the requests in flight, for five seconds at most, and ends with 0.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

STARTED = web.AppKey("started", float)
REQUESTS = web.AppKey("requests", list)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>tepal</title>
<style>
  body {{ font: 18px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto 0; padding: 0 1rem; color: #222 }}
  code {{ background: #f2eef5; padding: .1em .3em; border-radius: .2em }}
</style>
<h1>Hello from {loop}</h1>
<p>Python {python}, aiohttp, request {requests} in {seconds:.0f} s.</p>
<p>For programs: <a href="/api/status"><code>/api/status</code></a>.
For the patient: <a href="/slow"><code>/slow</code></a> answers after two seconds.</p>
</html>
"""


def status(request: web.Request) -> dict[str, object]:
    loop = type(asyncio.get_running_loop())
    return {
        "loop": f"{loop.__module__}.{loop.__qualname__}",
        "python": sys.version.split()[0],
        "requests": request.app[REQUESTS][0],
        "seconds": round(time.monotonic() - request.app[STARTED], 3),
    }


async def page(request: web.Request) -> web.Response:
    return web.Response(text=PAGE.format(**status(request)), content_type="text/html")


async def api_status(request: web.Request) -> web.Response:
    return web.json_response(status(request))


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(2)
    return web.Response(text="two seconds later\n")


@web.middleware
async def count(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    request.app[REQUESTS][0] += 1
    return await handler(request)


def make_app() -> web.Application:
    app = web.Application(middlewares=[count])
    app[STARTED] = time.monotonic()
    app[REQUESTS] = [0]
    app.add_routes([web.get("/", page), web.get("/api/status", api_status), web.get("/slow", slow)])
    return app


def main() -> int:
    host = os.environ.get("HOST", "127.0.0.1")
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PORT", "8080")
    if not given.isdecimal() or int(given) > 65535:
        print(f"{given!r} is not a port", file=sys.stderr)
        return 2
    port = int(given)

    def announce(_: str) -> None:
        print(f"http://{host}:{port}/  (Ctrl-C ends)", flush=True)

    try:
        web.run_app(make_app(), host=host, port=port, print=announce, access_log=None, shutdown_timeout=5)
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {error.strerror or error}; another port: PORT=8081", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
