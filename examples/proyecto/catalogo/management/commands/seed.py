"""Fill the catalogue with articles, once."""

from __future__ import annotations

import datetime
import random
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from catalogo.models import Article, Author

WORDS = (
    "caballo rienda llano potro jinete espuela lazo corral manada remuda montura herradura "
    "galope trote pradera ganado vaquero sendero arroyo monte"
).split()


class Command(BaseCommand):
    """`manage.py seed`: the same articles each time, and none if there are some."""

    help = "Fill the catalogue with articles, unless it has some."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--articles", type=int, default=3000)

    @transaction.atomic
    def handle(self, *args: Any, articles: int, **options: Any) -> None:
        if Article.objects.exists():
            self.stdout.write(f"{Article.objects.count()} articles are there already")
            return
        chance = random.Random(1)
        names = [f"{first.title()} {last.title()}" for first in WORDS[:6] for last in WORDS[6:12]]
        authors = Author.objects.bulk_create(Author(name=name) for name in names)
        first_day = datetime.date(2024, 1, 1)
        Article.objects.bulk_create(
            (
                Article(
                    author=chance.choice(authors),
                    title=" ".join(chance.choices(WORDS, k=4)).capitalize(),
                    body=" ".join(chance.choices(WORDS, k=120)),
                    price=chance.randint(100, 99_999) / 100,
                    published=first_day + datetime.timedelta(days=chance.randrange(900)),
                )
                for _ in range(articles)
            ),
            batch_size=500,
        )
        self.stdout.write(f"{articles} articles written")
