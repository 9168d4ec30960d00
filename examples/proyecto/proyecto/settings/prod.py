"""Production: what `config/railway.env` runs."""

from .base import *  # noqa: F403

DEBUG = False
# The platform's router ends TLS and says so in this header.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
