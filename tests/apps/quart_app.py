"""Quart: Flask's way of writing, over ASGI."""

import asyncio

from quart import Quart, request, websocket

app = Quart(__name__)


@app.before_serving
async def start():
    app.config["STARTED"] = True


@app.get("/")
async def root():
    return {"started": app.config["STARTED"], "remote": request.remote_addr}


@app.post("/echo")
async def echo():
    return await request.get_data()


@app.get("/stream")
async def stream():
    async def pieces():
        for number in range(5):
            yield f"{number}\n".encode()
            await asyncio.sleep(0.01)

    return pieces(), {"Content-Type": "text/plain"}


@app.websocket("/ws")
async def ws():
    while True:
        await websocket.send(await websocket.receive())
