"""What a site usually does: lists, exports, uploads, sessions, cache."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator

from django.core.cache import cache
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.csrf import csrf_exempt

from .models import Article

PAGE_LENGTH = 25
READ_BYTES = 64 * 1024


def article_list(request: HttpRequest) -> HttpResponse:
    """A page of articles, as HTML."""
    articles = Paginator(Article.objects.select_related("author"), PAGE_LENGTH)
    page = articles.get_page(request.GET.get("page"))
    return render(request, "catalogo/list.html", {"page": page})


def article(request: HttpRequest, pk: int) -> HttpResponse:
    """One article."""
    found = get_object_or_404(Article.objects.select_related("author"), pk=pk)
    return render(request, "catalogo/article.html", {"article": found})


class Echo:
    """A file that gives back what is written, so that `csv` can feed a stream."""

    def write(self, text: str) -> str:
        """Return the text."""
        return text


def export(request: HttpRequest) -> StreamingHttpResponse:
    """All articles as CSV, row by row, without ever holding them all."""
    writer = csv.writer(Echo())

    def rows() -> Iterator[str]:
        yield writer.writerow(["id", "title", "author", "price", "published"])
        for row in Article.objects.values_list(
            "pk", "title", "author__name", "price", "published"
        ).iterator(chunk_size=500):
            yield writer.writerow(row)

    headers = {"Content-Disposition": 'attachment; filename="articulos.csv"'}
    return StreamingHttpResponse(rows(), content_type="text/csv", headers=headers)


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    """A form to GET; counts and hashes whatever is POSTed, also in chunks."""
    if request.method != "POST":
        return render(request, "catalogo/upload.html")
    pieces: Iterator[bytes]
    if request.content_type == "multipart/form-data":
        pieces = (piece for file in request.FILES.values() for piece in file.chunks())
    else:
        pieces = iter(lambda: request.read(READ_BYTES), b"")
    digest, count = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        count += len(piece)
    return JsonResponse({"bytes": count, "sha256": digest.hexdigest()})


def session(request: HttpRequest) -> JsonResponse:
    """Counts the visits of one browser."""
    visits = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    return JsonResponse({"visits": visits})


def cached(request: HttpRequest) -> JsonResponse:
    """Counts in the cache."""
    cache.add("hits", 0)
    return JsonResponse({"hits": cache.incr("hits")})
