"""The heap that workers share: what is done to it before they are forked.

A page stays shared as long as nobody writes to it. The collector writes to each object that it
visits, and whoever looks at an object writes its count of references, unless that is immortal.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import functools
import gc
import itertools
import operator
import re
import sys
import types
import typing
import weakref

from remuda import _remuda

# Finalizers may leave new garbage; some would do so for ever.
COLLECTIONS_MAX = 5

# Kinds made in C that can be immortal: their end does no more than let go of what they refer to.
# Those of the language itself are in `crates/python/src/immortal.rs`.
INERT: list[type] = [
    list, property, classmethod, staticmethod,
    types.CellType, types.MethodType, types.BuiltinFunctionType, types.MethodDescriptorType,
    types.WrapperDescriptorType, types.MethodWrapperType, types.GetSetDescriptorType,
    types.MemberDescriptorType, types.ClassMethodDescriptorType, types.MappingProxyType,
    types.SimpleNamespace, types.GenericAlias, types.UnionType, re.Pattern,
    functools.partial,
    operator.itemgetter, operator.attrgetter, operator.methodcaller,
]  # fmt: skip

# They stay mortal, since they change whenever they are used, or others hold memory of theirs; they
# hold others, and end without anybody noticing.
THROUGH: list[type] = [
    bytearray, slice, range, super, typing.TypeVar,
    collections.deque, collections.defaultdict, collections.OrderedDict,
    type(functools.lru_cache(lambda: None)), functools.cmp_to_key(max).__class__,
    itertools.count, itertools.chain, weakref.ref, weakref.ProxyType,
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone,
    decimal.Decimal,
]  # fmt: skip


def collect() -> None:
    """Free what is garbage, also what only finalizers of garbage have held."""
    for _ in range(COLLECTIONS_MAX):
        if not gc.collect():
            return


def seal(*, immortal: bool) -> int:
    """Leave the heap so that workers write to as few of its pages as can be.

    Args:
        immortal: Whether objects may be made immortal, where this interpreter can do that.

    Returns:
        How many objects are immortal now that were not before.
    """
    collect()
    count = _remuda.make_immortal(INERT, THROUGH) if immortal and _remuda.can_make_immortal() else 0
    # Frozen objects are never visited by the collector again, so their pages stay shared.
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    _remuda.trim_heap()
    return count
