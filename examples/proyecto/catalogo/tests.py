"""The site by itself, without a server."""

from __future__ import annotations

import hashlib

from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import TestCase


class PagesTest(TestCase):
    """Each page gives what it promises."""

    @classmethod
    def setUpTestData(cls) -> None:
        call_command("seed", articles=60, verbosity=0)

    def test_list_shows_a_page_of_articles_without_a_query_for_each(self) -> None:
        with self.assertNumQueries(2):
            response = self.client.get("/")
        self.assertEqual(response.content.count(b"/articulo/"), 25)
        self.assertContains(self.client.get("/?page=3"), "página 3 de 3")

    def test_seed_twice_adds_nothing(self) -> None:
        call_command("seed", verbosity=0)
        self.assertContains(self.client.get("/"), "de 3")

    def test_export_has_a_row_for_each_article(self) -> None:
        response = self.client.get("/export.csv")
        self.assertEqual(len(b"".join(response).splitlines()), 61)

    def test_upload_counts_raw_bodies_and_files(self) -> None:
        digest = hashlib.sha256(b"data").hexdigest()
        raw = self.client.post("/upload/", b"data", content_type="application/octet-stream")
        self.assertEqual(raw.json(), {"bytes": 4, "sha256": digest})
        form = self.client.post("/upload/", {"file": SimpleUploadedFile("a.txt", b"data")})
        self.assertEqual(form.json(), {"bytes": 4, "sha256": digest})
        self.assertContains(self.client.get("/upload/"), "<form")

    def test_session_and_cache_count(self) -> None:
        self.assertEqual([self.client.get("/session/").json()["visits"] for _ in range(2)], [1, 2])
        self.assertGreater(self.client.get("/cache/").json()["hits"], 0)

    def test_laboratory(self) -> None:
        for page in ("/sleep/?s=0", "/cpu/?ms=1", "/leak/?kb=1", "/whoami/", "/health/"):
            self.assertEqual(self.client.get(page).status_code, 200, page)
        with self.assertRaises(RuntimeError):
            self.client.get("/error/")

    def test_admin_asks_for_a_password(self) -> None:
        self.assertRedirects(self.client.get("/admin/"), "/admin/login/?next=/admin/")
