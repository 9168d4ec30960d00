"""Apps from files of PasteDeploy, the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_boot import refused
from test_worker_class import without

from http_client import get
from serving import conf

INI = """
[DEFAULT]
shop = general

[app:main]
paste.app_factory = shop:make
greeting = hello

[app:admin]
paste.app_factory = shop:make
greeting = welcome

[pipeline:wrapped]
pipeline = upper main

[filter:upper]
paste.filter_factory = shop:make_upper

[app:nobody]
use = egg:nobody-has-this
"""
SHOP = """
def make(global_conf, greeting):
    def app(environ, start_response):
        words = [greeting, global_conf["shop"], global_conf.get("a=b", "-")]
        start_response("200 OK", [])
        return [" ".join(words).encode()]
    return app

def make_upper(global_conf):
    def wrap(app):
        def upper(environ, start_response):
            return [piece.upper() for piece in app(environ, start_response)]
        return upper
    return wrap
"""
LOGGERS = """
[loggers]
keys = root
[handlers]
keys = file
[formatters]
keys =
[logger_root]
level = INFO
handlers = file
[handler_file]
class = FileHandler
args = ("shop.log",)
"""


@pytest.fixture
def shop(site: Path) -> Path:
    """A directory with an app and its file."""
    conf(site, INI, "shop.ini")
    conf(site, SHOP, "shop.py")
    return site


@pytest.mark.parametrize(
    ("section", "words"),
    [("", "hello general -"), ("#admin", "welcome general -"), ("#wrapped", "HELLO GENERAL -")],
)
def test_the_file_makes_the_app_that_its_section_names(serve, shop, wsgi_class, section, words):
    args = ["-k", wsgi_class, "--paste", f"shop.ini{section}"]
    with serve(*args, app=None, cwd=shop) as server:
        assert get(server.port, "/").text == words


@pytest.mark.parametrize("preload", ["true", "false"])
def test_global_variables_reach_the_factory_and_the_file_wins_over_an_app(serve, shop, preload):
    args = ["--paste", str(shop / "shop.ini"), "--paste-global", "shop=books"]
    args += ["--paste-global", r"a\=b=c=d", f"--preload={preload}"]
    with serve(*args, app="hello:app", cwd=shop) as server:
        assert get(server.port, "/").text == "hello books c=d"


def test_sections_for_logging_are_used(serve, shop):
    conf(shop, INI + LOGGERS, "shop.ini")
    conf(shop, "import logging\nlogging.getLogger('shop').info('made')\n" + SHOP, "shop.py")
    with serve("--paste", "shop.ini", app=None, cwd=shop):
        assert "made" in (shop / "shop.log").read_text()


def test_a_file_that_is_missing_is_named(shop):
    status, words = refused("--paste", "nowhere.ini", cwd=shop)
    assert status == 1 and f"'{shop}/nowhere.ini' not found" in words


@pytest.mark.parametrize("check", [[], ["--check-config"]])
def test_what_cannot_be_made_is_named(shop, check):
    status, words = refused("--paste", "shop.ini#missing", *check, cwd=shop)
    assert status == (1 if check else 4)
    assert "No section 'missing'" in words and "must be importable" not in words
    status, words = refused("--paste", "shop.ini#nobody", *check, cwd=shop)
    assert status != 0 and "nobody-has-this" in words


def test_without_pastedeploy_it_is_named(shop):
    env = without(shop, "paste")
    status, words = refused("--paste", "shop.ini", cwd=shop, env=env)
    assert status == 1
    assert "`paste` needs the package PasteDeploy: No module named 'paste" in words
    assert "The worker class" not in words
    assert "-m pip install PasteDeploy" in words
