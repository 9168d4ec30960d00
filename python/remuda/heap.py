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

# They hold others, and end without anybody noticing.
THROUGH: list[type] = [
    list, bytearray, slice, range, property, classmethod, staticmethod, super,
    types.CellType, types.MethodType, types.BuiltinFunctionType, types.MethodDescriptorType,
    types.WrapperDescriptorType, types.MethodWrapperType, types.GetSetDescriptorType,
    types.MemberDescriptorType, types.ClassMethodDescriptorType, types.MappingProxyType,
    types.SimpleNamespace, types.GenericAlias, types.UnionType, typing.TypeVar,
    collections.deque, collections.defaultdict, collections.OrderedDict,
    functools.partial, type(functools.lru_cache(lambda: None)), functools.cmp_to_key(max).__class__,
    operator.itemgetter, operator.attrgetter, operator.methodcaller,
    re.Pattern, itertools.count, itertools.chain, weakref.ref, weakref.ProxyType,
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
    count = _remuda.make_immortal(THROUGH) if immortal and _remuda.can_make_immortal() else 0
    # Frozen objects are never visited by the collector again, so their pages stay shared.
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    _remuda.trim_heap()
    return count
