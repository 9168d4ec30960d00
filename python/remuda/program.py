"""The configuration file of a program that has handed its app over; see ``remuda.handover``.

Importing this module runs the program.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from types import CodeType, ModuleType
from typing import Any

from remuda.handover import PROGRAM, Handover


def _handed_over(program: dict[str, Any]) -> Handover:
    """Run the program, as the module ``__main__``, up to where it hands its app over."""
    main = ModuleType("__main__")
    main.__dict__["__file__"] = program["path"]
    code: CodeType
    if program["module"]:
        spec = importlib.util.find_spec(program["module"])
        assert spec is not None and spec.loader is not None
        main.__spec__, main.__package__ = spec, spec.parent
        code = spec.loader.get_code(spec.name)  # type: ignore[attr-defined]
    else:
        sys.path.insert(0, os.path.dirname(program["path"]))
        with open(program["path"], "rb") as source:
            code = compile(source.read(), program["path"], "exec", dont_inherit=True)
    sys.modules["__main__"] = main
    sys.argv = program["argv"]
    try:
        exec(code, main.__dict__)
    except Handover as handover:
        return handover
    raise RuntimeError(f"{program['path']} ended without handing an app over")


def app() -> Any:
    """The app that was handed over."""
    return _handover.load()


_handover = _handed_over(json.loads(os.environ[PROGRAM]))
wsgi_app = "remuda.program:app()"
globals().update(_handover.settings)
