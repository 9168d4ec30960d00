"""The app of the catalogue."""

from django.apps import AppConfig


class CatalogoConfig(AppConfig):
    """Articles and their authors."""

    name = "catalogo"
    verbose_name = "Catálogo"
