"""Django's ASGI handler with an asynchronous stream, and Channels for its WebSocket."""

import asyncio
import threading

import django
from django.conf import settings

settings.configure(
    DEBUG=False,
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["channels"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

events = []


async def root(request):
    return JsonResponse({"scheme": request.scheme, "path": request.path, "method": request.method})


def synchronous(request):
    return JsonResponse({"main": threading.current_thread() is threading.main_thread()})


async def stream(request):
    async def ticks():
        try:
            for number in range(1000):
                yield f"{number}\n"
                await asyncio.sleep(0.02)
        finally:
            events.append("stream ended")

    return StreamingHttpResponse(ticks(), content_type="text/plain")


def upload(request):
    return HttpResponse(str(sum(len(piece) for piece in request.FILES["file"].chunks())))


async def show_events(request):
    return JsonResponse(events, safe=False)


class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content, **_):
        await self.send_json({"echo": content})

    async def disconnect(self, code):
        events.append(f"consumer ended {code}")


urlpatterns = [
    path("", root),
    path("sync", synchronous),
    path("stream", stream),
    path("upload", upload),
    path("events", show_events),
]

app = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("ws", Echo.as_asgi())]),
    }
)
