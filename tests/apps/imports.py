"""An app whose requests import modules, and say which were there before."""

import importlib
import json
import sys

AT_IMPORT = set(sys.modules)


def app(environ, start_response):
    wanted = environ["QUERY_STRING"].split(",") if environ["QUERY_STRING"] else []
    before = sorted(name for name in sys.modules if name.startswith("late."))
    for name in wanted:
        importlib.import_module(name)
    start_response("200 OK", [])
    return [json.dumps({"late": before, "json.tool": "json.tool" in sys.modules}).encode()]
