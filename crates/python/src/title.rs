//! What `ps` shows of a process: the kernel shows the memory in which it was given its arguments, as
//! it is now. The master gives its children an argument of spaces, for room.

use std::ffi::CString;
use std::fs;
use std::io;
use std::sync::Mutex;

use pyo3::prelude::*;

/// The title of this process, once it has one; a fork inherits it.
static TITLE: Mutex<Option<Title>> = Mutex::new(None);

struct Title {
    area: Area,
    /// Who it is: the title without its state.
    name: String,
    shown: Vec<u8>,
}

/// The memory of the arguments, by address.
#[derive(Clone, Copy)]
struct Area {
    start: usize,
    length: usize,
}

/// Sets the name that `top` shows, of which the kernel keeps 15 bytes, and the title that `ps`
/// shows. A title that is longer than the arguments were is cut.
#[pyfunction]
pub(crate) fn name_process(short: &str, name: String, state: &str) -> PyResult<()> {
    nix::sys::prctl::set_name(&CString::new(short)?).map_err(io::Error::from)?;
    // Without /proc there is no `ps` either.
    let Ok(area) = Area::find() else { return Ok(()) };
    let shown = area.write(&name, state);
    *TITLE.lock().expect("nothing panics with it") = Some(Title { area, name, shown });
    Ok(())
}

/// Changes the state that the title shows, unless the app has given the process another title.
#[pyfunction]
pub(crate) fn show_state(state: &str) {
    if let Some(title) = TITLE.lock().expect("nothing panics with it").as_mut()
        && title.area.read().starts_with(&title.shown)
    {
        title.shown = title.area.write(&title.name, state);
    }
}

impl Area {
    fn find() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        Self::parse(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Fields 48 and 49 of `/proc/self/stat`, see proc_pid_stat(5). The second one is a name, which
    /// may hold spaces and parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace().skip(48 - 3).map(str::parse);
        let start: usize = fields.next()?.ok()?;
        let end: usize = fields.next()?.ok()?;
        // Zero stands for "you may not know".
        (start != 0 && end > start).then_some(Self { start, length: end - start })
    }

    /// Gives what was written: all of it, or as much as there was room for.
    fn write(self, name: &str, state: &str) -> Vec<u8> {
        let mut title = if state.is_empty() { name.to_owned() } else { format!("{name} {state}") };
        // The last byte stays zero: else the kernel takes the environment for part of it.
        let room = self.length - 1;
        let is_end = |&end: &usize| title.is_char_boundary(end);
        title.truncate((0..=room).rev().find(is_end).unwrap_or_default());
        let shown = title.into_bytes();
        let mut whole = shown.clone();
        whole.resize(self.length, 0);
        // SAFETY: the kernel has put the arguments there, on the stack of the main thread, which
        // stays mapped and writable for as long as the process lives. CPython and the C library
        // have made their own copies of the arguments; whoever still reads them finds text that
        // ends with zero. Writers have the lock of `TITLE` or the interpreter's.
        unsafe {
            std::ptr::copy_nonoverlapping(whole.as_ptr(), self.start as *mut u8, self.length);
        }
        shown
    }

    fn read(self) -> Vec<u8> {
        // SAFETY: as above; it is read as bytes, whatever others have written.
        unsafe { std::slice::from_raw_parts(self.start as *const u8, self.length) }.to_vec()
    }
}
