"""A client with cookies and forms, as far as a log-in needs them."""

from __future__ import annotations

import http.cookiejar
import re
import urllib.parse
import urllib.request


class Browser:
    """Follows redirects and keeps cookies."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))

    def open(self, path: str, data: bytes | None = None, **headers: str) -> tuple[str, str]:
        """Ask for a page; where it ended, and its text."""
        request = urllib.request.Request(self.base + path, data, headers)
        with self._opener.open(request, timeout=60) as response:
            return response.geturl().removeprefix(self.base), response.read().decode()

    def log_in(self, path: str, **fields: str) -> tuple[str, str]:
        """Fill in and send the form of a page."""
        _, page = self.open(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token, page[:500]
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1], **fields}).encode()
        return self.open(path, data, Referer=self.base + path)
