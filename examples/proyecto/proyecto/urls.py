"""The pages of the site."""

from django.contrib import admin
from django.urls import path

from catalogo import labs, views

urlpatterns = [
    path("", views.article_list, name="article-list"),
    path("articulo/<int:pk>/", views.article, name="article"),
    path("export.csv", views.export, name="export"),
    path("upload/", views.upload, name="upload"),
    path("session/", views.session, name="session"),
    path("cache/", views.cached, name="cache"),
    path("sleep/", labs.sleep, name="sleep"),
    path("cpu/", labs.cpu, name="cpu"),
    path("leak/", labs.leak, name="leak"),
    path("error/", labs.error, name="error"),
    path("whoami/", labs.whoami, name="whoami"),
    path("health/", labs.health, name="health"),
    path("admin/", admin.site.urls),
]
