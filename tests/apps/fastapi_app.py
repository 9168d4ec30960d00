"""FastAPI: validation, dependencies, background tasks, streaming, server-sent events, WebSocket."""

import asyncio
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, Depends, FastAPI, Request, UploadFile, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.websockets import WebSocketDisconnect

events = []


@asynccontextmanager
async def lifespan(app):
    yield {"pool": "made at start"}
    print("fastapi stopped", flush=True)


app = FastAPI(lifespan=lifespan)


async def stamp(request, call_next):
    response = await call_next(request)
    response.headers["X-Stamp"] = "1"
    return response


app.add_middleware(BaseHTTPMiddleware, dispatch=stamp)


class Item(BaseModel):
    name: str
    price: float


def double(factor: int = 2) -> int:
    return factor * 2


@app.get("/")
async def root(request: Request, doubled: int = Depends(double)):
    return {"pool": request.state.pool, "doubled": doubled, "client": request.client.host}


@app.get("/threaded")
def threaded():
    """A plain function: runs in anyio's thread pool."""
    return {"threaded": True}


@app.post("/items")
async def items(item: Item):
    return {"name": item.name, "total": item.price * 2}


@app.post("/upload")
async def upload(file: UploadFile):
    size = 0
    while piece := await file.read(65536):
        size += len(piece)
    return {"name": file.filename, "size": size}


@app.get("/background")
async def background(tasks: BackgroundTasks):
    async def later():
        await asyncio.sleep(0.2)
        events.append("background done")

    tasks.add_task(later)
    return {"queued": True}


@app.get("/sse")
async def sse(request: Request):
    async def ticks():
        try:
            for number in range(1000):
                yield f"data: {number}\n\n"
                await asyncio.sleep(0.02)
        finally:
            events.append("sse ended")

    return StreamingResponse(ticks(), media_type="text/event-stream")


@app.get("/events")
async def show_events():
    return events


@app.get("/fail")
async def fail():
    raise RuntimeError("broken in fastapi")


@app.websocket("/ws")
async def ws(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_json({"echo": await websocket.receive_json()})
    except WebSocketDisconnect as end:
        events.append(f"ws ended {end.code}")
