//! Pages of files that the zygote has mapped and will hardly look at again.
//!
//! While it imports, it touches most of the interpreter and of every extension module. None of that
//! is inherited by a fork (workers map what they use), and none is needed to wait for the next fork,
//! but it counts as the zygote's, and the kernel is slow to take mapped pages back.

use std::ffi::c_void;
use std::fs;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};
use pyo3::prelude::*;

/// Unmaps clean pages of files; they are read again, from the page cache mostly, when they are needed.
#[pyfunction]
pub(crate) fn release_file_pages() {
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else { return };
    for (start, length) in clean_ranges(&maps) {
        let Some(address) = NonNull::new(start as *mut c_void) else { continue };
        // SAFETY: the range is mapped from a file, cannot be written to, and has no page that
        // differs from the file, so whoever reads it next finds what it holds now.
        let _ = unsafe { madvise(address, length, MmapAdvise::MADV_DONTNEED) };
    }
}

/// Start and length of each mapping of a file that cannot be written to and never was: the linker
/// has written to some before it took the right to do so away.
fn clean_ranges(smaps: &str) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(mapping) = mapping_of(line) {
            candidate = mapping;
        } else if let Some(anonymous) = line.strip_prefix("Anonymous:")
            && anonymous.trim() == "0 kB"
        {
            ranges.extend(candidate.take());
        }
    }
    ranges
}

/// The first line of a mapping; inside, its range if it is a file's, private and read-only.
fn mapping_of(line: &str) -> Option<Option<(usize, usize)>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let (permissions, _offset, _device, inode) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_file = inode != "0";
    let is_clean = permissions.starts_with("r-") && permissions.ends_with('p');
    Some((is_file && is_clean && end > start).then(|| (start, end - start)))
}
