"""The immortal heap: whatever a program could notice of an object's end happens as before."""

from __future__ import annotations

import collections
import datetime
import functools
import gc
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import weakref

import pytest

from remuda import _remuda
from sealed import in_sealed_child, needs_immortal

IMMORTAL = 0xFFFFFFFF


class Plain:
    """An instance of it is inert, unless it owns something that is not."""

    def __init__(self, **values):
        self.__dict__.update(values)


class Slotted:
    __slots__ = ("value",)


class Finalized:
    ended: list[str] = []  # noqa: RUF012

    def __init__(self, name):
        self.name = name

    def __del__(self):
        self.ended.append(self.name)


class Base:
    pass


WORLD: dict[str, object] = {}


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture(autouse=True)
def fresh_world():
    yield
    WORLD.clear()
    Finalized.ended.clear()


@needs_immortal
def test_what_is_inert_is_immortal_and_what_comes_later_is_counted():
    WORLD.update(text="x" * 100, number=10**20, pair=("a" * 50, 2.5), plain=Plain(a=1))

    def check():
        for inert in (Plain, Plain.__init__, Plain.__init__.__code__, sys, *WORLD.values()):
            assert sys.getrefcount(inert) == IMMORTAL, inert
        later = Plain(a=1)
        before = sys.getrefcount(later)
        again = [later, later]
        assert sys.getrefcount(later) == before + 2
        del again
        assert sys.getrefcount(later) == before

    in_sealed_child(check)


@needs_immortal
def test_parts_of_classes_and_what_only_holds_others_are_immortal():
    def holding(value):
        return lambda: value

    WORLD.update(items=[1, "a"], method=Plain(a=1).__init__, pattern=re.compile("a+"))
    WORLD.update(call=functools.partial(int, base=2), cell=holding([]).__closure__[0])
    WORLD.update(field=Slotted.value, prop=property(len), static=staticmethod(len), len=len)

    def check():
        for name, value in WORLD.items():
            assert sys.getrefcount(value) == IMMORTAL, name
        assert WORLD["pattern"].match("aab").end() == 2 and WORLD["call"]("101") == 5
        WORLD["items"] += [Finalized("later")]
        WORLD["items"].clear()
        assert Finalized.ended == ["later"]

    in_sealed_child(check)


@needs_immortal
def test_other_kinds_stay_mortal():
    def generator():
        yield

    file = open(os.devnull)  # noqa: SIM115
    WORLD.update(lock=threading.Lock(), gen=generator(), file=file, it=iter([1, 2]))
    WORLD.update(files=[file], deque=collections.deque([1]), ref=weakref.ref(Plain))
    WORLD.update(cached=functools.lru_cache(lambda: None), now=datetime.datetime.now())
    del file

    def check():
        for name, value in WORLD.items():
            assert sys.getrefcount(value) < 1000, name

    in_sealed_child(check)
    WORLD["file"].close()


@needs_immortal
@pytest.mark.parametrize("around", ["itself", "instance", "tuple", "dict", "list", "deep"])
def test_a_finalizer_runs_when_its_object_is_dropped(around):
    value = Finalized(around)
    WORLD["it"] = {
        "itself": value,
        "instance": Plain(value=value),
        "tuple": (1, value),
        "dict": {"key": value},
        "list": [value],
        "deep": Plain(a=({"b": [Plain(c=(value,))]},)),
    }[around]
    del value

    def check():
        assert Finalized.ended == []
        del WORLD["it"]
        assert Finalized.ended == [around]

    in_sealed_child(check)


@needs_immortal
def test_a_finalizer_in_a_cycle_runs_once_the_cycle_is_collected():
    first, second = Finalized("cycle"), Plain()
    first.other, second.other = second, first
    WORLD["it"] = first
    del first, second

    def check():
        del WORLD["it"]
        gc.unfreeze()
        gc.collect()
        assert Finalized.ended == ["cycle"]

    in_sealed_child(check)


@needs_immortal
def test_weak_references_die_and_call_back():
    called = []
    value, function, many = Plain(a=1), lambda: None, frozenset(["set"])
    names = weakref.WeakValueDictionary({"value": value})
    WORLD.update(value=value, function=function, many=many)
    refs = [weakref.ref(each, lambda _: called.append(1)) for each in (value, function, many)]
    weakref.finalize(value, called.append, "finalize")
    del value, function, many

    def check():
        WORLD.clear()
        assert [ref() for ref in refs] == [None, None, None]
        assert called.count(1) == 3 and "finalize" in called
        assert dict(names) == {}

    in_sealed_child(check)


@needs_immortal
@pytest.mark.parametrize("kind", ["file", "socket", "generator", "closure"])
def test_what_is_owned_is_closed_when_its_owner_is_dropped(kind):
    opened = [*socket.socketpair(), open(os.devnull)]  # noqa: SIM115
    owned = opened[0 if kind == "socket" else 2]
    fd = owned.fileno()
    if kind == "generator":

        def holds(file):
            with file:
                yield

        running = holds(owned)
        next(running)
        WORLD["it"] = Plain(running=running)
        del running
    elif kind == "closure":

        def maker(file):
            return lambda: file.read()

        WORLD["it"] = (maker(owned),)
    else:
        WORLD["it"] = Plain(deep={"file": owned})
    del owned

    def check():
        opened.clear()
        assert is_open(fd)
        del WORLD["it"]
        assert not is_open(fd)

    in_sealed_child(check)
    # Here, in the parent, nobody has closed them.
    while opened:
        opened.pop().close()


@needs_immortal
def test_values_are_not_changed_in_place():
    WORLD.update(number=2.5, text="immortal" * 20, pair=(1, 2))
    zipped, numbered = zip([1, 2, 3], [4, 5, 6]), enumerate("abc")  # noqa: B905
    pairs = iter({"a": 1, "b": 2}.items())
    first = next(zipped), next(numbered), next(pairs)
    WORLD["first"] = first

    def check():
        number, text, pair = WORLD["number"], WORLD["text"], WORLD["pair"]
        number += 1.0
        number *= 2.0
        text += "!"
        pair += (3,)
        assert WORLD["number"] == 2.5 and number == 7.0
        assert WORLD["text"] == "immortal" * 20 and text == "immortal" * 20 + "!"
        assert WORLD["pair"] == (1, 2) and pair == (1, 2, 3)
        assert list(zipped) == [(2, 5), (3, 6)]
        assert list(numbered) == [(1, "b"), (2, "c")]
        assert list(pairs) == [("b", 2)]
        assert WORLD["first"] == ((1, 4), (0, "a"), ("a", 1))

    in_sealed_child(check)


@needs_immortal
def test_classes_modules_and_containers_still_change():
    slotted = Slotted()
    WORLD.update(slotted=slotted, names={"a", "b"}, table={"k": 1})

    def check():
        class Derived(Base):
            def hello(self):
                return "hello"

        assert Derived().hello() == "hello" and Derived in Base.__subclasses__()
        gone = weakref.ref(Derived)
        del Derived
        gc.collect()
        assert gone() is None and Base.__subclasses__() == []
        Base.hello = lambda self: "patched"
        assert Base().hello() == "patched"
        slotted.value = object()
        died = weakref.ref(set_value := Plain())
        slotted.value = set_value
        del set_value
        slotted.value = None
        assert died() is None
        WORLD["names"].clear()
        WORLD["table"].update({str(n): n for n in range(10_000)})
        assert len(WORLD["table"]) == 10_001 and WORLD["names"] == set()
        assert pickle.loads(pickle.dumps(WORLD["table"])) == WORLD["table"]
        Plain.__init__.__defaults__ = (1,)
        for module in ("textwrap", "json.decoder"):
            __import__(module)
            del sys.modules[module]
            __import__(module)

    in_sealed_child(check)


@needs_immortal
def test_threads_and_forks_go_on_from_an_immortal_heap():
    def check():
        results: list[int] = []
        threads = [
            threading.Thread(target=lambda n=n: results.append(sum(range(n)))) for n in range(50)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == sorted(sum(range(n)) for n in range(50))
        for _ in range(5):
            if (pid := os.fork()) == 0:
                gc.collect()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0

    in_sealed_child(check)


EXIT = """
import atexit, sys
from remuda import heap
class Holder:
    def __init__(self, path):
        self.file = open(path, "w")
holder = Holder(sys.argv[1])
nested = {"deep": (Holder(sys.argv[1] + "2"),)}
assert heap.seal(immortal=True) > 1000
atexit.register(print, "bye")
holder.file.write("flushed")
nested["deep"][0].file.write("flushed")
"""


@needs_immortal
def test_at_exit_handlers_run_and_files_are_written(tmp_path):
    target = tmp_path / "file"
    command = [sys.executable, "-c", EXIT, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "bye\n"
    assert target.read_text() == "flushed"
    assert (tmp_path / "file2").read_text() == "flushed"


def test_an_interpreter_that_is_not_known_is_left_alone():
    known = sys.version_info[:2] in ((3, 12), (3, 13)) and not hasattr(sys, "gettotalrefcount")
    assert _remuda.can_make_immortal() == known
    if not known:
        with pytest.raises(RuntimeError, match="counts references in another way"):
            _remuda.make_immortal([], [])


PAGES = """
import re, hashlib, json, ssl, sqlite3, decimal
from remuda import _remuda
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = resident()
_remuda.release_file_pages()
after = resident()
assert sqlite3.connect(":memory:").execute("select 1+1").fetchone() == (2,)
assert ssl.create_default_context() and hashlib.sha256(b"x").hexdigest()
assert json.loads(json.dumps([1.5])) == [1.5] and decimal.Decimal("0.1") + 1
print(before, after)
"""


def test_released_file_pages_come_back_when_they_are_needed():
    command = [sys.executable, "-c", PAGES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert after < before
