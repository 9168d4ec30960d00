# The example site under remuda. For a site of your own, keep the first stage and copy your files
# in the second.

FROM rust:1-slim-bookworm AS rust

FROM python:3.12-slim-bookworm AS build
# A C compiler, and Rust's tools from their own image: the same Debian, so they run here.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
ENV PATH=/usr/local/cargo/bin:$PATH CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.12-slim-bookworm
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=proyecto.settings.prod
RUN useradd --system --create-home --home-dir /app app
WORKDIR /app
COPY examples/proyecto/requirements.txt .
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir -r requirements.txt /wheels/*.whl && rm -r /wheels
COPY --chown=app:app examples/proyecto .
# Tables, articles and static files of the SQLite site; a real one migrates in its release step.
USER app
RUN python manage.py prepare
# PORT makes remuda listen on every interface, IPv6 and IPv4; platforms set their own.
ENV PORT=8000
EXPOSE 8000
# No shell and no init in between: the master reaps, forwards and stops by itself.
ENTRYPOINT ["remuda"]
CMD ["proyecto.wsgi"]
