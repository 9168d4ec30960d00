//! What one request costs a sync worker: parse → environ → app → response, with Python inside.
//!
//! A real worker in this process, a client over a unix socket, one thread. The rows have the names
//! of those in `crates/front/benches/exchange.rs`; the difference is Python's share. Run by
//! `make bench-micro`.

#[path = "../../front/benches/requests/mod.rs"]
mod requests;

use std::ffi::CString;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use _remuda::_remuda;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};
use remuda_channel::{ListenerPlan, WorkerPlan};
use remuda_scoreboard::Board;
use remuda_settings::{Outcome, Sources};
use requests::requests;

const APP: &str = r#"
def app(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("Content-Length", "13")]
    start_response("200 OK", headers)
    return [b"Hello, World!"]
"#;

/// A worker, and a client that is connected to it.
struct Pair {
    worker: Py<PyAny>,
    client: UnixStream,
    /// What a worker has of its master; open as long as the worker lives.
    _master: (Board, OwnedFd, OwnedFd),
}

impl Pair {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("front.sock");
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let client = UnixStream::connect(&path)?;
        let (board, board_fd) = Board::create(1)?;
        let kind = SockType::SeqPacket;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, kind, None, SockFlag::empty()).expect("a pair");

        let module = PyModule::import(py, "_remuda")?;
        let code = CString::new(APP).expect("no zero byte");
        let app = PyModule::from_code(py, &code, c"app.py", c"app")?.getattr("app")?;
        let journal = module.getattr("Journal")?.call1(("-", "error"))?;
        let errors = py.import("sys")?.getattr("stderr")?;
        let plan = plan(listener.into_raw_fd(), &path.display().to_string());
        let plan = serde_json::to_string(&plan).expect("a plan is JSON");
        let keywords = PyDict::new(py);
        keywords.set_item("board", board_fd.as_raw_fd())?;
        keywords.set_item("line", 0)?;
        keywords.set_item("channel", theirs.into_raw_fd())?;
        keywords.set_item("max_requests", 0)?;
        let groundwork = module.call_method1("lay_groundwork", (&plan,))?;
        let worker = module
            .getattr("Worker")?
            .call((plan, groundwork, app, journal, errors), Some(&keywords))?;
        Ok(Self { worker: worker.unbind(), client, _master: (board, board_fd, ours) })
    }

    fn exchange(&mut self, py: Python<'_>, request: &[u8], answer: &mut [u8]) -> PyResult<usize> {
        self.client.write_all(request)?;
        let worker = self.worker.bind(py);
        let served = worker.getattr("served")?.extract::<u64>()?;
        while worker.getattr("served")?.extract::<u64>()? == served {
            worker.call_method0("collect")?;
            worker.call_method0("lead")?;
        }
        Ok(self.client.read(answer)?)
    }
}

/// What the command would tell a worker without any wish of the user's.
fn plan(fd: i32, path: &str) -> WorkerPlan {
    let sources = Sources::gather(["app:app".into()], [], "/".as_ref()).expect("sources");
    let outcome = sources.settle(&[]);
    let Outcome::Run(settings, _) = outcome else { panic!("{outcome:?}") };
    let listener = ListenerPlan { fd, host: path.into(), port: None };
    WorkerPlan { relay: None, ..remuda::plan::for_workers(&settings, vec![listener], None, None) }
}

fn worker(criterion: &mut Criterion) {
    pyo3::append_to_inittab!(_remuda);
    Python::initialize();
    let mut group = criterion.benchmark_group("sync worker");
    Python::attach(|py| {
        for (name, request) in requests() {
            let mut pair = Pair::new(py).expect("a worker");
            let mut answer = [0; 4096];
            let length = pair.exchange(py, &request, &mut answer).expect("an answer");
            assert!(answer[..length].starts_with(b"HTTP/1.1 200 OK\r\n"), "{name}");
            assert!(answer[..length].ends_with(b"\r\n\r\nHello, World!"), "{name}");
            group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                bencher.iter(|| pair.exchange(py, &request, black_box(&mut answer)));
            });
        }
    });
}

criterion_group!(benches, worker);
criterion_main!(benches);
