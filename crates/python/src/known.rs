//! Strings that an app says again and again, and what they were read as.
//!
//! Status lines, header names and most header values are constants: the same objects at each
//! request. To find one here by its address costs a fraction of reading it. The object is held as
//! long as its address stands here, so no other can have that.

use std::cell::RefCell;

use pyo3::prelude::*;

/// Immutable objects, and what they were read as. A new one takes the place of an older one.
pub(crate) struct Known<T>(RefCell<Box<[Place<T>]>>);

type Place<T> = Option<(Py<PyAny>, T)>;

const PLACES: usize = 64;
/// Objects of Python stand at multiples of this.
const ALIGNMENT: usize = 16;

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(RefCell::new((0..PLACES).map(|_| None).collect()))
    }
}

impl<T: Clone> Known<T> {
    /// What this object was read as before, if that is still known.
    pub(crate) fn get(&self, object: &Bound<'_, PyAny>) -> Option<T> {
        let places = self.0.borrow();
        let (known, meaning) = places[place(object)].as_ref()?;
        known.is(object).then(|| meaning.clone())
    }

    /// Remembers what an object was read as. It must be of a kind that cannot change.
    pub(crate) fn remember(&self, object: &Bound<'_, PyAny>, meaning: T) {
        let new = Some((object.clone().unbind(), meaning));
        let before = std::mem::replace(&mut self.0.borrow_mut()[place(object)], new);
        // After the borrow has ended: a subclass of `str` may have code that runs now.
        drop(before);
    }
}

fn place(object: &Bound<'_, PyAny>) -> usize {
    object.as_ptr().addr() / ALIGNMENT % PLACES
}
