"""Development: error pages with details."""

from .base import *  # noqa: F403

DEBUG = True
