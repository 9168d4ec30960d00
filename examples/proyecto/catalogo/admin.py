"""The catalogue in Django's admin."""

from django.contrib import admin

from .models import Article, Author

admin.site.register(Author)


@admin.register(Article)
class ArticleAdmin(admin.ModelAdmin):
    """Articles, with what one looks for in the list."""

    list_display = ("title", "author", "price", "published")
    list_select_related = ("author",)
    search_fields = ("title",)
