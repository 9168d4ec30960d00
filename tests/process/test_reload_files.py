"""``reload``: the code is loaded anew when it changes; broken code changes nothing."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from http_client import get
from serving import conf, wait_until

APP = """
import part

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/late":
        import late
        return [late.TEXT.encode()]
    return [part.TEXT.encode()]
"""

ASGI = """
import part

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": part.TEXT.encode()})
"""


def site(folder: Path, app: str = APP) -> Path:
    """An app of two files, and one that is imported late, from a folder of its own."""
    place = folder / "site"
    (place / "lib").mkdir(parents=True)
    (place / "app.py").write_text(app)
    say(place, "one")
    (place / "lib" / "late.py").write_text("TEXT = 'late one'")
    return place


def say(place: Path, text: str) -> None:
    """Edit the app, by writing its file in place."""
    (place / "part.py").write_text(f"TEXT = {text!r}")


def answers(server, text: str, path: str = "/") -> None:
    """Wait for the answer."""
    wait_until(lambda: get(server.port, path).text == text, f"{text!r} is answered")


def is_watched(server, folder: Path) -> bool:
    """Whether the kernel tells the master of this folder."""
    wanted = f" ino:{folder.stat().st_ino:x} "
    entries = Path(f"/proc/{server.pid}/fdinfo").iterdir()
    for entry in entries:
        # One that was closed meanwhile.
        with suppress(FileNotFoundError):
            if wanted in entry.read_text():
                return True
    return False


@pytest.fixture
def edited(serve, tmp_path):
    """A function that serves an app which a test edits."""

    def begin(*args: str, app: str = APP, **more):
        place = site(tmp_path, app)
        # Not the folder of the app, so that what is beside it is known by what was imported only.
        more.setdefault("env", {})["PYTHONPATH"] = f"{place}:{place / 'lib'}"
        cwd = more.pop("cwd", place)
        return place, serve("--reload", *args, app="app:app", cwd=cwd, **more)

    return begin


@pytest.mark.parametrize("engine", ["inotify", "poll"])
def test_an_edit_is_served_broken_code_is_not_and_the_next_edit_mends_it(edited, engine):
    place, serving = edited("--reload-engine", engine)
    with serving as server:
        assert "Reloader is on. Use in development only!" in server.log()
        answers(server, "one")
        say(place, "two")
        answers(server, "two")
        assert f"Reloading: {place / 'part.py'} modified" in server.messages()
        assert "Handling signal: hup" not in server.messages()
        (place / "part.py").write_text("TEXT = 'thr")
        server.wait_for_log("Reload given up")
        assert "SyntaxError: unterminated string literal" in server.log()
        assert get(server.port, "/").text == "two"
        say(place, "four")
        answers(server, "four")
        wait_until(lambda: len(server.workers()) == 1, "the old worker is gone")


def test_edits_of_the_same_length_within_a_second_are_told_apart(edited):
    place, serving = edited()
    with serving as server:
        for text in ("abc", "abd", "abe", "abf", "abg"):
            say(place, text)
            answers(server, text)


def test_every_worker_class_reloads(edited, worker_class):
    app = ASGI if worker_class == "asgi" else APP
    place, serving = edited("--worker-class", worker_class, "--workers", "2", app=app)
    with serving as server:
        before = server.workers()
        say(place, "two")
        server.wait_for_log("Reload done")
        answers(server, "two")
        wait_until(lambda: not set(before) & set(server.workers()), "all are replaced")


def test_a_file_that_is_replaced_by_another_is_an_edit(edited):
    place, serving = edited()
    with serving as server:
        (place / ".part.py.swp").write_text("TEXT = 'two'")
        (place / ".part.py.swp").rename(place / "part.py")
        answers(server, "two")
        # As vim does with backups: the old one goes away, then a new one comes.
        (place / "part.py").rename(place / "part.py~")
        say(place, "three")
        answers(server, "three")


def test_a_missing_module_and_a_missing_package_are_mended_by_making_them(edited):
    place, serving = edited()
    with serving as server:
        (place / "part.py").write_text("from other import TEXT")
        server.wait_for_log("No module named 'other'")
        server.wait_for_log("Reload given up")
        (place / "other.py").write_text("TEXT = 'other'")
        answers(server, "other")
        (place / "part.py").write_text("from package import TEXT")
        server.wait_for_log("No module named 'package'")
        server.wait_for_log("Reload given up", 2)
        (place / "package").mkdir()
        (place / "package" / "__init__.py").write_text("TEXT = 'package'")
        answers(server, "package")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_fails_in_a_folder_of_its_own_is_watched_although_it_was_never_imported(
    edited, tmp_path, elsewhere
):
    place, serving = edited(cwd=tmp_path if elsewhere else None)
    far = tmp_path / "far" / "far_away"
    far.mkdir(parents=True)
    (far / "__init__.py").write_text("")
    (far / "broken.py").write_text("TEXT = 1 / 0")
    with serving as server:
        path = f"import sys; sys.path.insert(0, {str(far.parent)!r})\n"
        (place / "part.py").write_text(path + "from far_away.broken import TEXT")
        server.wait_for_log("ZeroDivisionError")
        server.wait_for_log("Reload given up")
        (far / "broken.py").write_text("TEXT = 'mended'")
        answers(server, "mended")


def test_an_edit_between_a_late_import_and_the_word_of_it_is_seen(edited):
    place, serving = edited()
    with serving as server:
        assert get(server.port, "/late").text == "late one"
        (place / "lib" / "late.py").write_text("TEXT = 'late two'")
        answers(server, "late two", "/late")


@pytest.mark.parametrize("preload", [True, False])
def test_a_module_that_is_imported_by_a_request_is_watched_from_then_on(edited, preload, tmp_path):
    args = () if preload else ("--config", str(conf(tmp_path, "preload_app = False")))
    place, serving = edited(*args)
    late = place / "lib" / "late.py"
    # Not in a folder that is watched anyway.
    deep = tmp_path / "far" / "deep"
    deep.mkdir(parents=True)
    (deep / "deeper.py").write_text("TEXT = 'deep one'")
    late.write_text(f"import sys; sys.path.insert(0, {str(deep)!r})\nfrom deeper import TEXT")
    with serving as server:
        assert get(server.port, "/late").text == "deep one"
        # The worker tells of it within a second, and until then nobody watches.
        wait_until(lambda: is_watched(server, deep), "the folder is watched")
        (deep / "deeper.py").write_text("TEXT = 'deep two'")
        answers(server, "deep two", "/late")
        assert f"Reloading: {deep / 'deeper.py'} modified" in server.messages()


def test_without_preload_broken_code_leaves_the_old_workers_and_is_mended(edited, tmp_path):
    place, serving = edited("--config", str(conf(tmp_path, "preload_app = False\nworkers = 2")))
    with serving as server:
        say(place, "two")
        server.wait_for_log("Reload done")
        answers(server, "two")
        (place / "part.py").write_text("TEXT = 1 / 0")
        server.wait_for_log("ZeroDivisionError")
        server.wait_for_log("Reload given up")
        assert get(server.port, "/").text == "two"
        say(place, "three")
        answers(server, "three")


def test_code_that_hangs_when_it_is_imported_is_overtaken_by_the_next_edit(edited):
    place, serving = edited()
    with serving as server:
        (place / "part.py").write_text("import time\nprint('HANGS', flush=True)\ntime.sleep(600)")
        wait_until(lambda: "HANGS" in server.stdout(), "the import hangs")
        assert get(server.port, "/").text == "one"
        say(place, "two")
        answers(server, "two")
        server.wait_for_log("The code has changed while it was being loaded: loading it anew")


@pytest.mark.parametrize("engine", ["auto", "poll"])
def test_extra_files_by_name_and_by_pattern(edited, engine):
    place, serving = edited(
        "--reload-engine", engine, "--reload-extra-file", "words.txt", "--reload-extra-file",
        "pages/**/*.html",
    )  # fmt: skip
    (place / "pages" / "mail").mkdir(parents=True)
    (place / "words.txt").write_text("a")
    with serving as server:
        for number, name in enumerate(["words.txt", "pages/new.html", "pages/mail/deep.html"], 1):
            (place / name).write_text("b" * number)
            server.wait_for_log(f"Reloading: {place / name} modified")
            server.wait_for_log("Reload done", number)
        (place / "other.txt").write_text("")
        say(place, "two")
        answers(server, "two")
        assert "other.txt" not in server.log()


def test_an_extra_file_that_is_not_there_is_refused(edited):
    _, serving = edited("--reload-extra-file", "nothing.txt", ready=False)
    with serving as server:
        assert server.wait() == 1
    assert "`--reload-extra-file` must be files that exist, or patterns" in server.log()
    assert "there is no such file" in server.log()


def test_the_configuration_file_is_watched_and_a_broken_one_changes_nothing(edited):
    place, serving = edited(env={})
    file = conf(place, "workers = 1")
    with serving as server:
        file.write_text("workers = 2")
        server.wait_for_log("2 workers wanted")
        wait_until(lambda: len(server.workers()) == 2, "there are two")
        file.write_text("workers = oops")
        server.wait_for_log("NameError: name 'oops' is not defined")
        server.wait_for_log("Reload given up")
        assert len(server.workers()) == 2
        file.write_text("workers = 1")
        server.wait_for_log("1 workers wanted")


def test_reload_lives_with_max_requests_and_with_workers_that_were_asked_for(edited):
    place, serving = edited("--max-requests", "3")
    with serving as server:
        server.send(signal.SIGTTIN)
        wait_until(lambda: len(server.workers()) == 2, "there are two")
        for _ in range(10):
            assert get(server.port, "/").text == "one"
        say(place, "two")
        server.wait_for_log("Reload done")
        answers(server, "two")
        wait_until(lambda: len(server.workers()) == 2, "there are two still")
        for _ in range(10):
            assert get(server.port, "/").text == "two"


def test_a_hangup_that_is_given_up_leaves_the_workers_that_were_asked_for(edited):
    place, serving = edited()
    with serving as server:
        server.send(signal.SIGTTIN)
        wait_until(lambda: len(server.workers()) == 2, "there are two")
        workers = server.workers()
        (place / "part.py").write_text("TEXT = 1 / 0")
        server.wait_for_log("Reload given up")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload given up", 2)
        assert server.workers() == workers
        say(place, "two")
        answers(server, "two")
        wait_until(lambda: not set(workers) & set(server.workers()), "the old ones are gone")
        assert len(server.workers()) == 2
        server.send(signal.SIGHUP)
        server.wait_for_log("1 workers wanted")


def test_nothing_is_watched_without_it(serve, tmp_path):
    place = site(tmp_path)
    with serve(app="app:app", cwd=place) as server:
        say(place, "two")
        assert not any(
            "inotify" in os.readlink(entry) for entry in Path(f"/proc/{server.pid}/fd").iterdir()
        )
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert "Reloading" not in server.log()


WRITES = """
import os
import time
from pathlib import Path

made = Path(__file__).with_name("made.py")
draft = made.with_suffix(f".{os.getpid()}")
draft.write_text("TEXT = 'made'")
draft.replace(made)
time.sleep(0.5)
import made
"""


@pytest.mark.parametrize("preload", ["true", "false"])
@pytest.mark.parametrize("engine", ["inotify", "poll"])
def test_an_app_that_writes_a_part_of_itself_does_not_load_itself_for_ever(edited, engine, preload):
    args = ["--workers", "2", "--reload-engine", engine, f"--preload={preload}"]
    place, serving = edited(*args, app=WRITES + APP)
    with serving as server:
        say(place, "two")
        answers(server, "two")
        # At the start nobody knew of it.
        known = server.log().count("made.py modified")
        done = server.log().count("Reload done")
        for number, text in enumerate(("three", "four"), start=1):
            say(place, text)
            answers(server, text)
            server.wait_for_log("Reload done", done + number)
        assert server.log().count("made.py modified") == known, server.log()
        # What somebody else writes there is an edit, unless a load that is under way undoes it.

        def edit_is_seen() -> bool:
            (place / "made.py").write_text("TEXT = 'edited'")
            return server.log().count("made.py modified") > known

        wait_until(edit_is_seen, "an edit of made.py is told")
