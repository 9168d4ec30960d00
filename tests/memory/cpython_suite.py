"""CPython's own tests, in a child with an immortal heap and in one that is frozen only.

Whatever fails only in the first is a finding. Prints what was run, and leaves with status 1
when there are findings. Run by `make test-immortal`; names of test modules as arguments run those.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import tempfile
import time
import unittest
from pathlib import Path

from remuda import _remuda, heap

# What takes long, opens windows, or asks the network, and what is about the process as a whole.
LEFT_OUT = {
    "test_asyncio", "test_concurrent_futures", "test_multiprocessing_fork", "test_idle", "test_tk",
    "test_multiprocessing_forkserver", "test_multiprocessing_spawn", "test_regrtest", "test_venv",
    "test_multiprocessing_main_handling", "test_ensurepip", "test_tools", "test_peg_generator",
    "test_gdb", "test_embed", "test_perf_profiler", "test_perfmaps", "test_socket", "test_ssl",
    "test_urllib2net", "test_urllibnet", "test_timeout", "test_robotparser", "test_smtpnet",
    "test_turtle", "test_ttk", "test_tcl", "test_zipfile64", "test_largefile", "test_bigmem",
    "test_faulthandler", "test_signal", "test_threadsignals", "test_eintr", "test_wsgiref",
    "test_interpreters", "test__interpreters", "test__interpchannels", "test_capi",
    "test_dbm_sqlite3",
    "test_compileall", "test_cext", "test_cppext", "test_clinic", "test_lib2to3", "test_distutils",
    "test_unparse", "test_tokenize", "test_io", "test_subprocess", "test_pty", "test_readline",
    "test_repl", "test_pyrepl", "test_android", "test_c_locale_coercion", "test_cmd_line",
    "test_launcher", "test_site", "test_getpath", "test_sqlite3", "test_generated_cases",
    "test_fork1", "test_wait3", "test_wait4", "test_kqueue", "test_devpoll", "test_ftplib",
    "test_poplib", "test_imaplib", "test_smtplib", "test_telnetlib", "test_nntplib",
    "test_asyncore",
    "test_asynchat", "test_smtpd", "test_docxmlrpc", "test_xmlrpc", "test_httplib", "test_curses",
    "test_crossinterp", "test_external_inspection", "test_zipapp", "test_zoneinfo", "test_lzma",
    "test_sundry", "test_source_encoding", "test_winconsoleio", "test_decimal", "test_statistics",
}  # fmt: skip
# They count the references to a constant of their own code, which lasts here; 3.13's no longer do.
COUNT_REFERENCES = {
    "test.test_memoryio.CBytesIOTest.test_cow_setstate",
    "test.test_memoryio.CBytesIOTest.test_cow_truncate",
    "test.test_memoryio.CBytesIOTest.test_cow_write",
}
FILE_BYTES_MAX = 90_000
MODULE_S_MAX = 40


def main() -> int:
    if not _remuda.can_make_immortal():
        print(f"NOT RUN: Python {sys.version.split()[0]} cannot have an immortal heap")
        return 0
    spec = importlib.util.find_spec("test")
    if spec is None or not spec.submodule_search_locations:
        print("NOT RUN: this Python comes without its tests")
        return 0
    folder = Path(spec.submodule_search_locations[0])
    names = sys.argv[1:] or sorted(
        path.stem
        for path in folder.glob("test_*.py")
        if path.stem not in LEFT_OUT and path.stat().st_size < FILE_BYTES_MAX
    )
    findings = []
    unfinished = []
    tests = 0
    for name in names:
        plain, sealed = run(name, immortal=False), run(name, immortal=True)
        tests += sealed["tests"]
        if sealed["failed"] and not sealed["tests"]:
            unfinished.append(name)
        # What fails at one time and not at another is no finding.
        fresh = sorted(set(sealed["failed"]) - set(plain["failed"]))
        fresh = [each for each in fresh if each.split("\n", 1)[0] not in COUNT_REFERENCES]
        if fresh and set(run(name, immortal=True)["failed"]) & set(fresh):
            findings += [(name, *each.split("\n", 1)) for each in fresh]
            print(f"{name}: {len(fresh)} fail only in an immortal heap", flush=True)
            for each in fresh[:3]:
                print("    " + each[:1500].replace("\n", "\n    "), flush=True)
    if unfinished:
        print(f"not run to the end: {', '.join(unfinished)}")
    print(f"{len(names)} modules, {tests} tests; {len(findings)} findings")
    return 1 if findings else 0


def run(name: str, *, immortal: bool) -> dict:
    """Run one module of tests in a forked child; how many there were, and which have failed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        in_child(name, immortal, writer)
    os.close(writer)
    end = time.monotonic() + MODULE_S_MAX
    while (done := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
        time.sleep(0.01)
    status = done[1]
    if done == (0, 0):
        os.killpg(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        os.close(reader)
        return {"tests": 0, "failed": ["it takes too long"]}
    with open(reader, encoding="utf-8") as file:
        said = file.read()
    if not said:
        return {"tests": 0, "failed": [f"it ended with wait status {status}"]}
    return json.loads(said)


def in_child(name: str, immortal: bool, writer: int) -> None:
    """Never returns."""
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.chdir(tempfile.mkdtemp())
    tests, failed = 0, []
    try:
        module = importlib.import_module(f"test.{name}")
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        heap.seal(immortal=immortal)
        result = unittest.TextTestRunner(stream=open(os.devnull, "w"), verbosity=0).run(suite)  # noqa: SIM115
        tests = result.testsRun
        failed = [
            f"{test.id()}\n{trace[-1200:]}" for test, trace in [*result.failures, *result.errors]
        ]
    except unittest.SkipTest:
        pass
    except BaseException as error:
        failed = [f"{type(error).__name__}: {error}"]
    # Addresses and traces differ from run to run; the name is what counts.
    said = json.dumps({"tests": tests, "failed": [each.split("\n")[0] for each in failed]})
    while said:
        said = said[os.write(writer, said.encode()[:4096]) :]
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
