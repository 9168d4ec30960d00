"""bjoern has no command: `python run_bjoern.py PORT MODULE:APP`."""

import importlib
import sys

import bjoern

sys.path.insert(0, "")
module, _, name = sys.argv[2].partition(":")
app = getattr(importlib.import_module(module), name)
bjoern.run(app, "127.0.0.1", int(sys.argv[1]))
