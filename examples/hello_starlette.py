"""A small web service on Starlette, served by uvicorn: HTTP and a WebSocket that answers in capitals.

Nothing in it knows tepal. Both of these serve it on tepal:

    tepal run examples/hello_starlette.py
    tepal run -m uvicorn --app-dir examples hello_starlette:app

The port comes from PORT, 8080 otherwise. Ctrl-C finishes the requests in flight and ends with 0.
"""

import asyncio
import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("Hello, world!\n")


async def status(request: Request) -> JSONResponse:
    loop = type(asyncio.get_running_loop())
    return JSONResponse({"loop": f"{loop.__module__}.{loop.__qualname__}"})


async def shout(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text.upper())


app = Starlette(routes=[Route("/", hello), Route("/api/status", status), WebSocketRoute("/shout", shout)])


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8080"))
    print(f"http://127.0.0.1:{port}/  (Ctrl-C ends)", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=5)
