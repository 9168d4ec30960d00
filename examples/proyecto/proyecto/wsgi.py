"""The WSGI app: `remuda proyecto.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proyecto.settings.prod")

application = get_wsgi_application()
