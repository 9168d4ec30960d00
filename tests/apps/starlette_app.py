"""Starlette: static files, redirects, forms, ranges, compression, WebSocket and its denial."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

HERE = Path(__file__)


async def root(request):
    return JSONResponse({"url": str(request.url), "path": request.url.path})


async def redirect(request):
    return RedirectResponse(request.url_for("root"))


async def source(request):
    return FileResponse(HERE)


async def long(request):
    return PlainTextResponse("long " * 1000)


async def form(request):
    async with request.form() as form:
        return JSONResponse({name: str(value) for name, value in form.items()})


async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text.upper())


async def denied(websocket):
    await websocket.send_denial_response(JSONResponse({"error": "no"}, status_code=418))


app = Starlette(
    routes=[
        Route("/", root, name="root"),
        Route("/redirect", redirect),
        Route("/source", source),
        Route("/long", long),
        Route("/form", form, methods=["POST"]),
        Mount("/static", StaticFiles(directory=HERE.parent)),
        WebSocketRoute("/ws", echo),
        WebSocketRoute("/denied", denied),
    ],
    middleware=[Middleware(GZipMiddleware, minimum_size=1000)],
)
