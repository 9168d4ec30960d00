"""Everything a fresh checkout needs before its first request."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """`manage.py prepare`: tables, articles, static files, a user for the admin. Harmless twice."""

    help = "Make tables, articles, static files and, if wanted, a user for the admin."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        call_command("seed")
        call_command("collectstatic", interactive=False, verbosity=0)
        self.add_superuser()

    def add_superuser(self) -> None:
        """Only with a password from ADMIN_PASSWORD, or while developing."""
        password = os.environ.get("ADMIN_PASSWORD") or ("admin" if settings.DEBUG else None)
        if password is None:
            self.stdout.write("no user for the admin: set ADMIN_PASSWORD to get one")
            return
        users = get_user_model().objects
        if not users.filter(username="admin").exists():
            users.create_superuser("admin", "admin@example.org", password)
            self.stdout.write("user `admin` made")
