"""bjoern has no command: `python run_bjoern.py PORT`."""

import sys

import bjoern
from hello import app

bjoern.run(app, "127.0.0.1", int(sys.argv[1]))
