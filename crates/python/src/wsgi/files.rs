//! `wsgi.file_wrapper`: files that the kernel can send, and all others read in blocks.

use std::cell::RefCell;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use nix::sys::stat::{SFlag, fstat};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;
use remuda_front::FileContent;

/// What an app gets as `wsgi.file_wrapper`.
#[pyclass(module = "remuda._remuda", frozen, get_all)]
pub(crate) struct FileWrapper {
    filelike: Py<PyAny>,
    blksize: Py<PyAny>,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize=None))]
    fn new(py: Python<'_>, filelike: Py<PyAny>, blksize: Option<Py<PyAny>>) -> PyResult<Self> {
        const BLOCK_BYTES: usize = 8192;
        let blksize = match blksize {
            Some(blksize) => blksize,
            None => BLOCK_BYTES.into_pyobject(py)?.into_any().unbind(),
        };
        Ok(Self { filelike, blksize })
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let block = self.filelike.call_method1(py, intern!(py, "read"), (&self.blksize,))?;
        Ok(block.is_truthy(py)?.then_some(block))
    }

    /// Closes the file, if it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

/// Results of apps that are to be closed, because the client has all of them or has gone.
pub(crate) type Closing = Rc<RefCell<Vec<Py<PyAny>>>>;

/// Puts the app's result among those to be closed, when the front is done with its file. It is not
/// closed at once: that runs code of the app's, in the middle of the front's work.
struct CloseWhenSent {
    result: Option<Py<PyAny>>,
    closing: Closing,
}

impl Drop for CloseWhenSent {
    fn drop(&mut self) {
        self.closing.borrow_mut().extend(self.result.take());
    }
}

/// Tells which files the kernel can send.
pub(crate) struct Files {
    enabled: bool,
    file_io: Py<PyType>,
    buffered: [Py<PyType>; 2],
}

/// A stretch of a file, up to its end.
struct Stretch {
    file: OwnedFd,
    offset: u64,
    length: u64,
}

impl Files {
    pub(crate) fn new(py: Python<'_>, enabled: bool) -> PyResult<Self> {
        let io = py.import("io")?;
        let kind = |name| -> PyResult<_> { Ok(io.getattr(name)?.cast_into::<PyType>()?.unbind()) };
        Ok(Self {
            enabled,
            file_io: kind("FileIO")?,
            buffered: [kind("BufferedReader")?, kind("BufferedRandom")?],
        })
    }

    /// What an app has returned as something that the front can send by itself: `None` when it has
    /// to be read in blocks. `declared` is the length that the app has announced.
    pub(crate) fn content_of(
        &self,
        result: &Bound<'_, PyAny>,
        declared: Option<u64>,
        closing: &Closing,
    ) -> PyResult<Option<FileContent>> {
        let Ok(wrapper) = result.cast_exact::<FileWrapper>() else { return Ok(None) };
        if !self.enabled {
            return Ok(None);
        }
        let filelike = wrapper.get().filelike.bind(result.py());
        let Some(stretch) = self.stretch_of(filelike)? else { return Ok(None) };
        let length = declared.unwrap_or(stretch.length);
        if length > stretch.length {
            // Too short, as the other way will find out and say.
            return Ok(None);
        }
        let result = Some(result.clone().unbind());
        let owner = CloseWhenSent { result, closing: closing.clone() };
        Ok(Some(FileContent::new(stretch.file, stretch.offset, length, Box::new(owner))))
    }

    /// What is left of a regular file behind the position at which the app has left it.
    fn stretch_of(&self, filelike: &Bound<'_, PyAny>) -> PyResult<Option<Stretch>> {
        let Some(fd) = self.descriptor_of(filelike)? else { return Ok(None) };
        // Buffered files have read ahead: only they know how far their reader has come.
        let offset = filelike.call_method0(intern!(filelike.py(), "tell"))?.extract::<u64>()?;
        // SAFETY: the file object is alive, and nobody closes it during this call.
        let file = unsafe { BorrowedFd::borrow_raw(fd) };
        let status = fstat(file).map_err(std::io::Error::from)?;
        if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Ok(None);
        }
        let length = u64::try_from(status.st_size).unwrap_or(0).saturating_sub(offset);
        Ok(Some(Stretch { file: file.try_clone_to_owned()?, offset, length }))
    }

    /// The descriptor of a file whose bytes are what its reader gets: not that of a `GzipFile`, for
    /// one, which has a descriptor, too. Temporary files and Django's wrap another in `file`.
    fn descriptor_of(&self, filelike: &Bound<'_, PyAny>) -> PyResult<Option<RawFd>> {
        const WRAPPERS_MAX: usize = 3;
        let py = filelike.py();
        let mut inner = filelike.clone();
        for _ in 0..WRAPPERS_MAX {
            if self.is_plain(&inner)? {
                let fd = inner.call_method0(intern!(py, "fileno"))?.extract::<RawFd>()?;
                let shown = filelike.getattr_opt(intern!(py, "fileno"))?;
                let shown = shown.map(|fileno| fileno.call0()?.extract::<RawFd>()).transpose()?;
                return Ok(shown.filter(|shown| *shown == fd));
            }
            match inner.getattr_opt(intern!(py, "file"))? {
                Some(file) => inner = file,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    fn is_plain(&self, file: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = file.py();
        let kind = file.get_type();
        if self.buffered.iter().any(|buffered| kind.is(buffered)) {
            return Ok(file.getattr(intern!(py, "raw"))?.get_type().is(&self.file_io));
        }
        Ok(kind.is(&self.file_io))
    }
}
