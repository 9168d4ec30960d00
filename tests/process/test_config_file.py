"""``gunicorn.conf.py`` and its relatives: found, run by Python, read again at a reload."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from test_boot import refused

from http_client import get
from serving import APPS, REMUDA, conf, is_a_wish, wait_until


def test_the_default_file_is_run_and_its_values_count(serve, site):
    conf(site, "import os\nworkers = len('ab')\nbind = os.environ['WHERE']\nraw_env = ['A=1,2']\n")
    with serve(app="show_env:app", cwd=site, bind=False, env={"WHERE": "127.0.0.1:0"}) as server:
        assert "  workers = 2 (gunicorn.conf.py:2)" in server.messages()
        assert "  raw_env = A=… (gunicorn.conf.py:4)" in server.messages()
        assert len(server.workers()) == 2


def test_raw_env_reaches_the_app_but_not_the_file(serve, site):
    conf(site, "import os\nraw_env = [f\"SEEN={os.environ.get('SEEN', 'nothing')}\"]\n")
    with serve(app="show_env:app", cwd=site) as server:
        assert get(server.port, "/SEEN").text == "nothing"
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert get(server.port, "/SEEN").text == "nothing"


@pytest.mark.parametrize("form", ["conf.d/site.py", "file:conf.d/site.py", "python:conf_of_site"])
def test_every_form_of_naming_a_file_works_and_variables_and_flags_win(serve, site, form):
    (site / "conf.d").mkdir()
    text = "from beside import count\nworkers, timeout, threads = count, 50, 3\n"
    conf(site, text, "conf.d/site.py")
    conf(site, text, "conf_of_site.py")
    conf(site, "count = 2\n", "beside.py")
    env = {"GUNICORN_TIMEOUT": "40", "WEB_CONCURRENCY": "7"}
    with serve("-c", form, "--threads", "1", cwd=site, env=env) as server:
        messages = server.messages()
        assert "  Workers: 2" in messages and "  Timeout: 40s" in messages
        assert "Using worker: sync" in messages


def test_a_mistyped_name_is_reported_and_names_of_ones_own_are_not(serve, site):
    conf(site, "import os\nfrom json import loads\nwrokers = 4\nhost = 'x'\n_workes = 1\n")
    with serve(cwd=site) as server:
        warnings = [m for m in server.messages() if "is not a setting" in m]
        assert len(warnings) == 1
        assert warnings[0].startswith("`wrokers` (gunicorn.conf.py:3) is not a setting")
        assert warnings[0].endswith("did you mean `workers`?")


def test_a_broken_file_keeps_it_from_starting_with_the_traceback(site):
    conf(site, "workers = 2\n\nworkers += nothing\n")
    status, words = refused("hello:app", cwd=site)
    assert status == 1
    assert f"Failed to read config file: {site}/gunicorn.conf.py" in words
    assert f'File "{site}/gunicorn.conf.py", line 3, in <module>' in words
    assert "NameError: name 'nothing' is not defined" in words
    assert "remuda" not in words.split("Traceback")[1], "our own frames are of no interest"


def test_bad_values_are_all_named_with_their_lines(site):
    conf(site, "workers = 'two'\ntimeout = [1]\n")
    status, words = refused("hello:app", cwd=site)
    assert status == 1
    assert "`workers` must be a whole number from 1 to 512, or `auto`, but is `two`" in words
    assert "from: gunicorn.conf.py:1" in words and "from: gunicorn.conf.py:2" in words


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("def post_fork(server): pass", "post_fork takes 1"),
        ("post_fork = lambda *args: None", "<lambda> takes 0"),
    ],
)
def test_a_hook_that_cannot_be_called_is_named_with_its_line(site, text, takes):
    conf(site, f"workers = 2\n{text}\n")
    status, words = refused("hello:app", cwd=site)
    assert status == 1
    assert f"`post_fork` must take 2 positional arguments, but {takes}" in words
    assert f"from: {site}/gunicorn.conf.py:2" in words


def test_a_file_that_is_missing_is_named(site):
    status, words = refused("-c", "nowhere.py", "hello:app", cwd=site)
    assert (status, "nowhere.py' doesn't exist" in words) == (1, True)
    status, words = refused("-c", "python:nowhere", "hello:app", cwd=site)
    assert (status, "No module named 'nowhere'" in words) == (1, True)


def test_the_file_is_run_in_the_zygote_before_the_app_is_imported(serve, site):
    conf(site, "import os\nos.environ['SEEN'] = 'set by the file'\n")
    with serve(app="show_env:app", cwd=site) as server:
        assert get(server.port, "/SEEN").text == "set by the file"


def test_a_reload_reads_the_file_again(serve, site):
    conf(site, "workers = 1\nraw_env = ['SEEN=old']\n")
    with serve(app="show_env:app", cwd=site) as server:
        assert get(server.port, "/SEEN").text == "old"
        conf(site, "workers = 3\nraw_env = ['SEEN=new']\nbind = ':1'\n")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert get(server.port, "/SEEN").text == "new"
        assert "3 workers wanted" in server.messages()
        wait_until(lambda: len(server.workers()) == 3, "three workers")


def test_a_reload_says_what_only_a_new_start_can_change(serve, site):
    conf(site, "bind = '127.0.0.1:0'\n")
    with serve(cwd=site, bind=False) as server:
        conf(site, "bind = 'localhost:0'\n")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert "`bind` has changed, which counts from the next start on" in server.messages()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('oh no')\n", "RuntimeError: oh no"),
        ("workers = 'many'\n", "`workers` must be a whole number"),
        ("import os\nos._exit(3)\n", "the Python process that reads the file has ended"),
    ],
)
def test_a_broken_file_leaves_the_old_settings_and_the_old_workers(serve, site, text, reason):
    conf(site, "workers = 2\nraw_env = ['SEEN=old']\n")
    with serve(app="show_env:app", cwd=site) as server:
        workers = server.workers()
        conf(site, text)
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload given up")
        assert reason in server.log()
        assert server.workers() == workers
        # What is forked from now on is of the old settings as well.
        os.kill(workers[0], signal.SIGKILL)
        server.wait_for_log("Booting worker with pid", 3)
        assert get(server.port, "/SEEN").text == "old"
        conf(site, "workers = 2\nraw_env = ['SEEN=mended']\n")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert get(server.port, "/SEEN").text == "mended"


def test_settings_of_an_app_that_does_not_load_are_dropped_with_it(serve, site):
    conf(site, "workers = 1\n")
    (site / "fragile.py").write_text("from show_env import app\n")
    with serve(app="fragile:app", cwd=site) as server:
        (site / "fragile.py").write_text("raise ValueError\n")
        conf(site, "workers = 2\n")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload given up")
        assert "2 workers wanted" not in server.messages()
        assert len(server.workers()) == 1


def test_a_reload_reads_the_toml_file_and_the_project_file_again(serve, site):
    conf(site, "workers = 1\n", "remuda.toml")
    with serve(cwd=site) as server:
        conf(site, "workers = 2\n", "remuda.toml")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        wait_until(lambda: len(server.workers()) == 2, "two workers")
    (site / "remuda.toml").unlink()
    conf(site, "[tool.remuda]\nworkers = 2\n", "pyproject.toml")
    with serve(cwd=site) as server:
        assert "  workers = 2 (pyproject.toml)" in server.messages()


def test_a_thread_of_the_file_does_not_keep_the_app_from_being_shared(serve, site):
    conf(
        site,
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    )
    with serve(cwd=site) as server:
        assert "shared by all workers: yes" in server.log()


def test_no_process_is_kept_for_a_file_without_hooks_of_the_master(serve, site):
    conf(site, "def post_fork(server, worker):\n    worker.log.info('here')\n")
    with serve(cwd=site) as server:
        assert len(server.children()) == 2, "one zygote, one worker"


# --check-config, --print-config, config explain


def check(*args: str, cwd: Path = APPS, env: dict[str, str] | None = None):
    clean = {key: value for key, value in os.environ.items() if not is_a_wish(key)}
    clean["PYTHONPATH"] = str(APPS)
    result = subprocess.run(
        [str(REMUDA), *args], env=clean | (env or {}), cwd=cwd, capture_output=True, timeout=60
    )
    return result.returncode, result.stdout.decode(), result.stderr.decode()


def test_a_good_configuration_is_checked_without_a_word(site):
    conf(site, "workers = 2\nraw_env = ['A=b']\n")
    assert check("--check-config", "hello:app", cwd=site) == (0, "", "")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["raises_on_import"], "Error while loading the application"),
        (["hello:nothing"], "Failed to find attribute 'nothing' in 'hello'."),
        (["hello:app", "-b", "nowhere.invalid:80"], "`nowhere.invalid:80` cannot be found"),
        (["hello:app", "--log-file", "/nowhere/error.log"], "/nowhere/error.log"),
        (["hello:app", "--access-logfile", "/nowhere/a.log"], "/nowhere/a.log"),
        (["hello:app", "-k", "gevnt"], "did you mean `gevent`?"),
        (["hello:app", "--certfile", "/nowhere.pem"], "/nowhere.pem"),
    ],
)
def test_a_check_finds_what_a_start_would(args, words):
    status, out, err = check("--check-config", *args)
    assert (status, out) == (1, "")
    assert words in err


def test_a_check_runs_the_file_and_applies_what_the_app_needs(site):
    (site / "lib").mkdir()
    (site / "lib" / "needy.py").write_text("import os\nos.environ['NEED']\nfrom hello import app\n")
    conf(site, "pythonpath = 'lib'\nraw_env = ['NEED=1']\n")
    assert check("--check-config", "needy:app", cwd=site) == (0, "", "")


def test_settings_are_printed_with_their_origin_and_the_app_is_checked(site):
    conf(site, "workers = 2\ndef post_fork(server, worker): pass\n")
    status, out, err = check("--print-config", "hello:app", "-t", "5", cwd=site)
    assert (status, err) == (0, "")
    lines = {line.split(" = ")[0].strip(): line.split(" = ", 1)[1] for line in out.splitlines()}
    assert lines["workers"] == "2  # gunicorn.conf.py:1"
    assert lines["timeout"] == "5  # flag --timeout"
    assert lines["post_fork"] == "<post_fork()>  # gunicorn.conf.py:2"
    status, out, err = check("--print-config", "raises_on_import", cwd=site)
    assert (status, "workers" in out, "Error while loading" in err) == (1, True, True)


def test_a_value_is_explained_by_what_it_overrides(site):
    conf(site, "workers = 2\n")
    status, out, _ = check("config", "explain", cwd=site, env={"GUNICORN_WORKERS": "3"})
    assert status == 0
    assert "workers = 3\n    from: environment variable GUNICORN_WORKERS\n" in out
    assert "    overrides: 2 (gunicorn.conf.py:1)\n    default: 1\n" in out


SLEEPS = "import sys, time\nprint('reading slowly', file=sys.stderr, flush=True)\ntime.sleep(60)\n"
HOOK_SLEEPS = (
    "import sys, time\n"
    "def on_starting(server):\n"
    "    print('reading slowly', file=sys.stderr, flush=True)\n"
    "    time.sleep(60)\n"
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("text", [SLEEPS, HOOK_SLEEPS], ids=["file", "on_starting"])
def test_a_signal_ends_the_start_while_python_of_the_configuration_runs(
    serve, tmp_path, number, text
):
    file = tmp_path / "gunicorn.conf.py"
    file.write_text(text)
    with serve("-c", str(file), app="lab:app", ready=False) as server:
        server.wait_for_log("reading slowly")
        reader = server.children()
        server.send(number)
        assert server.wait(30) == 0, "it does not wait for the sixty seconds"
        assert "told to stop while Python code of the configuration ran" in server.log()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in reader), "all gone")


def test_hup_while_the_file_is_read_is_obeyed_later(serve, tmp_path):
    file = tmp_path / "gunicorn.conf.py"
    file.write_text(SLEEPS.replace("60", "1"))
    with serve("-c", str(file), app="lab:app", ready=False) as server:
        server.wait_for_log("reading slowly")
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload done")
        assert get(server.port, "/pid").status == 200


def test_a_signal_ends_a_check_of_the_configuration(tmp_path):
    command = [str(REMUDA), "--check-config", "slow_import:app"]
    env = {**os.environ, "SLOW_IMPORT_S": "60", "PYTHONPATH": str(APPS)}
    with subprocess.Popen(
        command, env=env, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as check:
        for line in check.stderr:
            if b"importing slowly" in line:
                break
        check.terminate()
        assert check.wait(30) == -signal.SIGTERM
