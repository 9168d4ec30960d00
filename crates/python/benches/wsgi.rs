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
use remuda_channel::{AsgiPlan, ListenerPlan, Preload, WorkerClass, WorkerPlan};
use remuda_scoreboard::Board;
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
        let worker =
            module.getattr("Worker")?.call((plan, app, journal, errors), Some(&keywords))?;
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

/// The defaults of remuda's settings.
fn plan(fd: i32, path: &str) -> WorkerPlan {
    WorkerPlan {
        app: "app:app".into(),
        worker_class: WorkerClass::Sync,
        preload: Preload::Auto,
        chdir: "/".into(),
        pythonpath: Vec::new(),
        workers: 1,
        listeners: vec![ListenerPlan { fd, host: path.into(), port: None }],
        threads: 1,
        asgi: AsgiPlan {
            event_loop: "auto".into(),
            lifespan: "auto".into(),
            disconnect_grace_s: 3.0,
            websocket_message_bytes: 1 << 24,
            websocket_compression: true,
            websocket_ping_interval_s: 20.0,
            root_path: String::new(),
        },
        worker_connections: 1000,
        timeout_s: 30.0,
        graceful_timeout_s: 30.0,
        keepalive_s: 75.0,
        head_timeout_s: 30.0,
        body_timeout_s: 60.0,
        write_timeout_s: 60.0,
        body_spool_bytes: 1 << 20,
        limit_request_line: 4094,
        limit_request_fields: 100,
        limit_request_field_size: 8190,
        forwarded_allow_ips: vec!["127.0.0.1".into(), "::1".into()],
        errorlog: "-".into(),
        accesslog: None,
        access_log_format: String::new(),
        loglevel: "error".into(),
    }
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
