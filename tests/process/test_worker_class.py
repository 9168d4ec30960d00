"""Worker classes of other packages, or of one's own: served by ours, or refused with reasons."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from test_boot import refused

from http_client import get
from serving import APPS, REMUDA, conf

LAZY = """
from {module} import UvicornWorker as Base
class {name}(Base):
    CONFIG_KWARGS = {{"loop": "asyncio", "http": "httptools", "lifespan": "off", "ws": "none"}}
"""
# Where nobody has installed the package.
WITHOUT = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {packages!r} else find(name, path, target)
PathFinder.find_spec = find_spec
"""


def without(site: Path, *packages: str) -> dict[str, str]:
    """The environment of a machine that has not installed these packages."""
    folder = site / "without"
    folder.mkdir()
    conf(folder, WITHOUT.format(packages=packages), "sitecustomize.py")
    return {"PYTHONPATH": f"{folder}:{APPS}"}


@pytest.mark.parametrize("module", ["uvicorn.workers", "uvicorn_worker"])
def test_uvicorns_class_with_arguments_is_served_by_their_settings(serve, site, module):
    conf(site, LAZY.format(module=module, name="ShopWorker"), "shop_workers.py")
    with serve("-k", "shop_workers.ShopWorker", cwd=site, app="scope:app") as server:
        assert get(server.port, "/").status == 200
        assert "Using worker: asgi" in server.messages()
        [warning] = [m for m in server.messages() if "has no effect" in m]
        assert warning == (
            "`ws` of the worker class shop_workers.ShopWorker has no effect: WebSocket connections "
            "are offered to the app"
        )


def explained(site: Path, *args: str) -> list[str]:
    command = [str(REMUDA), "config", "explain", *args, "scope:app"]
    page = subprocess.run(command, cwd=site, capture_output=True, text=True, timeout=60)
    assert page.returncode == 0, page.stderr
    return [line.strip() for line in page.stdout.splitlines()]


def test_a_class_of_the_file_counts_and_what_the_user_gives_is_stronger(site):
    conf(site, LAZY.format(module="uvicorn.workers", name="ShopWorker"), "shop_workers.py")
    conf(site, "from shop_workers import ShopWorker as worker_class\n")
    lines = explained(site, "--asgi-loop", "uvloop")
    assert "worker_class = shop_workers.ShopWorker" in lines
    at = lines.index("asgi_lifespan = off")
    assert lines[at + 1] == "from: worker class shop_workers.ShopWorker, lifespan"
    assert "asgi_loop = uvloop" in lines


def test_the_class_is_read_again_at_a_reload(serve, site):
    conf(site, LAZY.format(module="uvicorn.workers", name="ShopWorker"), "shop_workers.py")
    conf(site, "worker_class = 'shop_workers.ShopWorker'\n")
    with serve(cwd=site, app="scope:app") as server:
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        text = LAZY.format(module="uvicorn.workers", name="ShopWorker")
        conf(site, text + "    def notify(self): pass\n", "shop_workers.py")
        shutil.rmtree(site / "__pycache__", ignore_errors=True)
        server.send(signal.SIGHUP)
        server.wait_for_log("with its own `notify`, which would not be called")
        assert get(server.port, "/").status == 200


@pytest.mark.parametrize(
    ("name", "path", "class_name"),
    [
        ("SyncWorker", "gunicorn.workers.sync", "sync"),
        ("ThreadWorker", "gunicorn.workers.gthread", "gthread"),
        ("ASGIWorker", "gunicorn.workers.gasgi", "asgi"),
        ("UvicornH11Worker", "uvicorn.workers", "asgi"),
        ("UvicornWorker", "uvicorn_worker", "asgi"),
    ],
)
@pytest.mark.parametrize("gone", [(), ("gunicorn", "uvicorn", "uvicorn_worker")])
def test_classes_given_as_objects_are_ours_by_name(serve, site, name, path, class_name, gone):
    conf(site, f"from {path} import {name} as worker_class\nfrom gunicorn import glogging\n")
    env = without(site, *gone)
    app = "scope:app" if class_name == "asgi" else "hello:app"
    with serve(cwd=site, app=app, env=env) as server:
        assert f"Using worker: {class_name}" in server.messages()
        assert get(server.port, "/").status == 200


def test_an_app_that_looks_for_gunicorn_does_not_find_a_stand_in(serve, site):
    conf(site, "import gunicorn.glogging\nassert gunicorn.__version__\n")
    text = (
        "try:\n    import gunicorn\n    found = b'found'\n"
        "except ImportError:\n    found = b'not found'\n"
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [found]\n"
    )
    conf(site, text, "looks.py")
    with serve(cwd=site, app="looks:app", env=without(site, "gunicorn")) as server:
        assert get(server.port, "/").text == "not found"


OWN = """
from gunicorn.workers.base import Worker
from gunicorn.workers.sync import SyncWorker
from uvicorn_worker import UvicornWorker
class Calls(SyncWorker):
    def init_process(self):
        super().init_process()
    def handle_quit(self, sig, frame): pass
class Grandchild(Calls):
    greeting = "hello"
class Headers(UvicornWorker):
    CONFIG_KWARGS = {"headers": [("x", "y")], "factory": True, "loop": "auto"}
class Alien(Worker):
    def run(self): pass
class Server(Alien): pass
"""
CALLS = [
    "why:  `own.{}` is a subclass of `gunicorn.workers.sync.SyncWorker` with its own "
    "`handle_quit`, `init_process`, which would not be called",
    "hint: use `sync`, and for `handle_quit` the hook `worker_int`, for `init_process` the hook "
    "`post_fork` or `post_worker_init`",
]
OURS = "hint: use `sync`, `gthread` or `gevent` for a WSGI app, `asgi` for an ASGI app"


@pytest.mark.parametrize("gone", [(), ("gunicorn", "uvicorn_worker")])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Calls", CALLS),
        ("Grandchild", CALLS),
        (
            "Headers",
            [
                "why:  `own.{}` passes `factory`, `headers` to uvicorn (CONFIG_KWARGS), for which "
                "there is nothing here",
                "hint: use `asgi` if you can do without",
            ],
        ),
        (
            "Alien",
            ["why:  `own.{}`, which is based on `gunicorn.workers.base.Worker`, has a", OURS],
        ),
        (
            "Server",
            ["why:  `own.{}`, which is based on `own.Alien`, has a server of its own", OURS],
        ),
        ("Missing", ["`own.{}` cannot be imported: AttributeError: module 'own' has no", OURS]),
    ],
)
def test_a_class_that_we_cannot_stand_for_is_refused_with_what_to_use(site, name, words, gone):
    (site / "lib").mkdir()
    conf(site, OWN, "lib/own.py")
    args = ("--pythonpath", "lib", "-k", f"own.{name}", "hello:app")
    status, said = refused(*args, cwd=site, env=without(site, *gone))
    assert status == 1
    assert f"`--worker-class` must be sync, gthread, gevent or asgi, but is `own.{name}`" in said
    for line in words:
        assert line.format(name) in said


def test_a_package_that_is_not_installed_is_named(site):
    status, said = refused("-k", "meinheld.gmeinheld.MeinheldWorker", "hello:app", cwd=site)
    assert status == 1
    assert "cannot be imported: ModuleNotFoundError: No module named 'meinheld'" in said
