//! The immortal heap: objects that live as long as the process get CPython's immortal reference
//! count, so that looking at them no longer writes to their pages, and workers go on sharing them.
//!
//! From 3.12 on the interpreter never counts references to an object whose count has all of its low
//! 32 bits set; `None` and small numbers are made so. Here the same is done to what the zygote has
//! loaded. It is never freed again, so it must be nothing whose end anybody could notice:
//!
//! - *inert* kinds only: text, bytes, numbers, tuples, dicts, sets, functions, code, types, modules,
//!   and instances of classes written in Python without a finalizer;
//! - nothing with a weak reference to it, types and modules aside;
//! - nothing that owns, over whatever it refers to, something that does not meet this: a file, a
//!   socket, a lock, an instance with `__del__`. Types, modules, modules' namespaces and code end the
//!   search for owners: they stay for good anyway, or are emptied at exit.
//!
//! `docs/design/051-immortal-heap.md` has what was measured and what was looked at in CPython.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyType};

/// All of the low 32 bits: what 3.12 and 3.13 take for immortal and leave alone, on 64-bit machines.
const IMMORTAL: u32 = u32::MAX;

/// Whether this interpreter is one of those whose count is known: CPython 3.12 or 3.13, 64 bits, with
/// the interpreter's lock, not built for debugging.
#[pyfunction]
pub(crate) fn can_make_immortal(py: Python<'_>) -> PyResult<bool> {
    let version = py.version_info();
    let known = version.major == 3 && matches!(version.minor, 12 | 13);
    let sys = py.import("sys")?;
    let is_cpython: bool = sys.getattr("implementation")?.getattr("name")?.eq("cpython")?;
    let counts_all = sys.hasattr("gettotalrefcount")?;
    let variable = py.import("sysconfig")?.getattr("get_config_var")?;
    let has_lock = !variable.call1(("Py_GIL_DISABLED",))?.is_truthy()?;
    let layout = cfg!(all(target_pointer_width = "64", target_endian = "little"));
    Ok(known && is_cpython && !counts_all && has_lock && layout)
}

/// Makes what is inert immortal, of all that is reachable from the objects which the collector knows;
/// how many objects.
///
/// `inert` are more types whose instances can be; `through` are types that may stand between an owner
/// and what it owns, and whose own end nobody notices.
#[pyfunction]
pub(crate) fn make_immortal(
    py: Python<'_>,
    inert: &Bound<'_, PyList>,
    through: &Bound<'_, PyList>,
) -> PyResult<usize> {
    if !can_make_immortal(py)? {
        return Err(PyRuntimeError::new_err("this interpreter counts references in another way"));
    }
    let roots = py.import("gc")?.call_method0("get_objects")?.cast_into::<PyList>()?;
    let mut heap = Heap::new(py, inert, through)?;
    for root in roots.iter() {
        heap.find(root.as_ptr());
    }
    heap.walk()?;
    heap.find_owners();
    Ok(heap.write())
}

/// What an object is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Can be made immortal, unless it owns an owner.
    Inert,
    /// Can be made immortal whatever it refers to.
    Lasting,
    /// Stays mortal; its end is no event by itself.
    Through,
    /// Its end is an event, or may be: everything else.
    Owner,
}

/// The graph of objects. No reference is held: whatever is in it lives as long as the list of roots,
/// since nothing runs meanwhile that could change an object.
struct Heap<'py> {
    py: Python<'py>,
    kinds: HashMap<*mut ffi::PyTypeObject, Kind>,
    /// `tp_dealloc` of classes that are written in Python.
    python_dealloc: usize,
    weakrefs: Bound<'py, PyAny>,
    index: HashMap<*mut ffi::PyObject, u32>,
    objects: Vec<*mut ffi::PyObject>,
    node_kinds: Vec<Kind>,
    /// Where the edges of each object begin; those of the last end with `targets`.
    starts: Vec<usize>,
    targets: Vec<u32>,
}

impl<'py> Heap<'py> {
    fn new(
        py: Python<'py>,
        inert: &Bound<'_, PyList>,
        through: &Bound<'_, PyList>,
    ) -> PyResult<Self> {
        let sample = py.get_type::<PyType>().call1(("Sample", (), pyo3::types::PyDict::new(py)))?;
        let sample = sample.cast_into::<PyType>()?;
        // SAFETY: a type object, alive.
        let python_dealloc = unsafe { dealloc_of(sample.as_type_ptr()) };
        let mut kinds = HashMap::new();
        for (types, kind) in [(inert, Kind::Inert), (through, Kind::Through)] {
            for known in types.iter() {
                kinds.insert(known.cast::<PyType>()?.as_type_ptr(), kind);
            }
        }
        for (known, kind) in builtin_kinds() {
            kinds.insert(known, kind);
        }
        Ok(Self {
            py,
            kinds,
            python_dealloc,
            weakrefs: py.import("_weakref")?.getattr("getweakrefcount")?,
            index: HashMap::new(),
            objects: Vec::new(),
            node_kinds: Vec::new(),
            starts: Vec::new(),
            targets: Vec::new(),
        })
    }

    /// The number of an object, a new one if need be.
    fn find(&mut self, object: *mut ffi::PyObject) -> u32 {
        let next = self.objects.len() as u32;
        let number = *self.index.entry(object).or_insert(next);
        if number == next {
            self.objects.push(object);
        }
        number
    }

    /// Goes on from what was found until nothing new is.
    fn walk(&mut self) -> PyResult<()> {
        let mut at = 0;
        while at < self.objects.len() {
            let object = self.objects[at];
            self.starts.push(self.targets.len());
            let kind = self.kind(object)?;
            self.node_kinds.push(kind);
            self.visit(object)?;
            at += 1;
        }
        // A module's namespace lasts as long as the module, or is emptied with it.
        for at in 0..self.objects.len() {
            // SAFETY: alive, see `Heap`; what a module gives is borrowed.
            let namespace = unsafe {
                match ffi::PyModule_Check(self.objects[at]) {
                    0 => continue,
                    _ => ffi::PyModule_GetDict(self.objects[at]),
                }
            };
            if let Some(&number) = self.index.get(&namespace) {
                self.node_kinds[number as usize] = Kind::Lasting;
            }
        }
        Ok(())
    }

    fn kind(&mut self, object: *mut ffi::PyObject) -> PyResult<Kind> {
        // SAFETY: alive, see `Heap`; a type's fields do not change.
        unsafe {
            let lasts = ffi::PyType_Check(object) != 0 || ffi::PyModule_Check(object) != 0;
            if lasts || is_immortal(object) {
                return Ok(Kind::Lasting);
            }
            let class = ffi::Py_TYPE(object);
            let kind = match self.kinds.get(&class) {
                Some(&kind) => kind,
                None => {
                    let kind = self.kind_of_class(class);
                    self.kinds.insert(class, kind);
                    kind
                }
            };
            if kind == Kind::Inert && (*class).tp_weaklistoffset != 0 {
                let object = Bound::from_borrowed_ptr(self.py, object);
                let count: usize = self.weakrefs.call1((object,))?.extract()?;
                return Ok(if count > 0 { Kind::Owner } else { kind });
            }
            Ok(kind)
        }
    }

    /// A class written in Python, all of whose bases are, or are inert.
    ///
    /// # Safety
    ///
    /// `class` is alive.
    unsafe fn kind_of_class(&self, class: *mut ffi::PyTypeObject) -> Kind {
        // SAFETY: the caller's promise; a type's mro is a tuple of types.
        unsafe {
            if (*class).tp_finalize.is_some() || (*class).tp_del.is_some() {
                return Kind::Owner;
            }
            let mro = (*class).tp_mro;
            if mro.is_null() || dealloc_of(class) != self.python_dealloc {
                return Kind::Owner;
            }
            for at in 0..ffi::PyTuple_GET_SIZE(mro) {
                let base = ffi::PyTuple_GET_ITEM(mro, at).cast::<ffi::PyTypeObject>();
                let is_plain = dealloc_of(base) == self.python_dealloc
                    || base == &raw mut ffi::PyBaseObject_Type
                    || self.kinds.get(&base) == Some(&Kind::Inert);
                if !is_plain {
                    return Kind::Owner;
                }
            }
            Kind::Inert
        }
    }

    /// Notes whatever an object refers to.
    fn visit(&mut self, object: *mut ffi::PyObject) -> PyResult<()> {
        // SAFETY: alive, see `Heap`; each call below only reads, and gives borrowed objects.
        unsafe {
            let class = ffi::Py_TYPE(object);
            if ffi::PyObject_IS_GC(object) != 0
                && let Some(traverse) = (*class).tp_traverse
            {
                traverse(object, note, (&raw mut *self).cast());
            }
            if ffi::PyDict_CheckExact(object) != 0 {
                // Its traversal leaves out keys that are texts, and values that lie in an instance.
                let (mut key, mut value, mut position) = (null_mut(), null_mut(), 0);
                while ffi::PyDict_Next(object, &raw mut position, &raw mut key, &raw mut value) != 0
                {
                    note(key, (&raw mut *self).cast());
                    note(value, (&raw mut *self).cast());
                }
            }
            if class == &raw mut ffi::PyCode_Type {
                self.visit_code(object)?;
            }
        }
        Ok(())
    }

    /// Code has no traversal.
    fn visit_code(&mut self, code: *mut ffi::PyObject) -> PyResult<()> {
        // SAFETY: alive, see `Heap`.
        let code = unsafe { Bound::from_borrowed_ptr(self.py, code) };
        for name in ["co_consts", "co_names", "co_filename", "co_name", "co_qualname"] {
            let part = code.getattr(name)?;
            // The code holds it as well, so it outlives ours.
            let number = self.find(part.as_ptr());
            self.targets.push(number);
        }
        Ok(())
    }

    /// Makes owners of all that owns one.
    fn find_owners(&mut self) {
        loop {
            let mut found = false;
            for at in (0..self.objects.len()).rev() {
                if !matches!(self.node_kinds[at], Kind::Inert | Kind::Through) {
                    continue;
                }
                let end = self.starts.get(at + 1).copied().unwrap_or(self.targets.len());
                let owns = |&target: &u32| self.node_kinds[target as usize] == Kind::Owner;
                if self.targets[self.starts[at]..end].iter().any(owns) {
                    self.node_kinds[at] = Kind::Owner;
                    found = true;
                }
            }
            if !found {
                return;
            }
        }
    }

    fn write(&self) -> usize {
        let mut count = 0;
        for (&object, kind) in self.objects.iter().zip(&self.node_kinds) {
            if matches!(kind, Kind::Inert | Kind::Lasting) {
                // SAFETY: alive, see `Heap`. An object begins with its count, 64 bits of which the
                // low half comes first (`can_make_immortal`). We hold the interpreter's lock, so
                // nobody counts meanwhile.
                unsafe {
                    if !is_immortal(object) {
                        *object.cast::<u32>() = IMMORTAL;
                        count += 1;
                    }
                }
            }
        }
        count
    }
}

/// What the interpreter asks before it counts down.
///
/// # Safety
///
/// `object` is alive, and begins with its count, the low half first.
unsafe fn is_immortal(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller's promise.
    unsafe { object.cast::<i32>().read() < 0 }
}

/// The address of a type's `tp_dealloc`.
///
/// # Safety
///
/// `class` is alive.
unsafe fn dealloc_of(class: *mut ffi::PyTypeObject) -> usize {
    // SAFETY: the caller's promise.
    unsafe { (*class).tp_dealloc }.map_or(0, |dealloc| dealloc as usize)
}

/// A traversal's visitor.
extern "C" fn note(object: *mut ffi::PyObject, heap: *mut c_void) -> c_int {
    // SAFETY: `visit` gives its own heap, and nobody else uses it until the traversal returns.
    let heap = unsafe { &mut *heap.cast::<Heap<'_>>() };
    if !object.is_null() {
        let number = heap.find(object);
        heap.targets.push(number);
    }
    0
}

fn builtin_kinds() -> [(*mut ffi::PyTypeObject, Kind); 12] {
    [
        (&raw mut ffi::PyUnicode_Type, Kind::Inert),
        (&raw mut ffi::PyBytes_Type, Kind::Inert),
        (&raw mut ffi::PyLong_Type, Kind::Inert),
        (&raw mut ffi::PyBool_Type, Kind::Inert),
        (&raw mut ffi::PyFloat_Type, Kind::Inert),
        (&raw mut ffi::PyComplex_Type, Kind::Inert),
        (&raw mut ffi::PyTuple_Type, Kind::Inert),
        (&raw mut ffi::PyDict_Type, Kind::Inert),
        (&raw mut ffi::PySet_Type, Kind::Inert),
        (&raw mut ffi::PyFrozenSet_Type, Kind::Inert),
        (&raw mut ffi::PyFunction_Type, Kind::Inert),
        (&raw mut ffi::PyCode_Type, Kind::Lasting),
    ]
}
