//! How long each worker's oldest request, or its loop, has stood still.

use std::time::Duration;

use remuda_channel::WorkerClass;
use remuda_scoreboard::{Board, LineView};
use remuda_supervisor::{Line, Pid, Sample, Stood, Tick};

/// Reads what a worker says of itself. A line that names another process is not believed.
pub(crate) fn of(board: &Board, line: Line, pid: Pid, class: WorkerClass) -> Sample {
    let view = board.read(line.0);
    if view.pid != u64::try_from(pid.0).unwrap_or(0) {
        return Sample::default();
    }
    let tick = |since| (since > 0).then_some(Tick(since));
    Sample {
        standing_since: tick(match class {
            WorkerClass::Sync => view.oldest_since_ns,
            // Beaten once a second or more often while the loop is well; idle or not.
            WorkerClass::Gthread | WorkerClass::Gevent | WorkerClass::Asgi => view.loop_beat_ns,
        }),
        oldest_since: tick(view.oldest_since_ns),
        latest_since: tick(view.latest_since_ns),
    }
}

/// The request that a worker is most likely held up by: `GET /path`, or a word that says that none
/// is known. In a loop that stands still it is the one that began last; the older ones wait.
pub(crate) fn request_text(view: &LineView, class: WorkerClass, what: Stood) -> String {
    let request = match (class, what) {
        (WorkerClass::Sync, _) | (_, Stood::Request) => &view.oldest,
        (_, Stood::Standing) => &view.latest,
    };
    if request.method.is_empty() {
        "(no request known)".to_owned()
    } else {
        format!("{} {}", request.method, request.path)
    }
}

/// How often the scoreboard is read: often enough to notice that a limit has passed within a quarter
/// of it.
pub(crate) fn pace(limit: Duration) -> Duration {
    (limit / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_sync_worker_stands_for_no_time() {
        let (board, _fd) = Board::create(1).expect("board");
        let writer = board.writer(0).expect("line");
        writer.claim(7, 100);
        let sample = |class| of(&board, Line(0), Pid(7), class);
        let since = |class| sample(class).standing_since;
        assert_eq!(since(WorkerClass::Sync), None);
        assert_eq!(since(WorkerClass::Gevent), Some(Tick(100)));
        let slow = writer.begin(200, "GET", "/slow");
        let quick = writer.begin(300, "GET", "/quick");
        assert_eq!(since(WorkerClass::Sync), Some(Tick(200)));
        let text = |class, what| request_text(&board.read(0), class, what);
        assert_eq!(text(WorkerClass::Sync, Stood::Standing), "GET /slow");
        assert_eq!(text(WorkerClass::Asgi, Stood::Standing), "GET /quick");
        assert_eq!(text(WorkerClass::Asgi, Stood::Request), "GET /slow");
        let requests = sample(WorkerClass::Asgi);
        assert_eq!(requests.oldest_since, Some(Tick(200)));
        assert_eq!(requests.latest_since, Some(Tick(300)));
        writer.put_off(slow, 50);
        assert_eq!(since(WorkerClass::Sync), Some(Tick(250)), "the app has asked for more time");
        writer.end(slow);
        writer.end(quick);
        assert_eq!(text(WorkerClass::Asgi, Stood::Standing), "(no request known)");
    }

    #[test]
    fn a_line_of_another_process_is_not_believed() {
        let (board, _fd) = Board::create(1).expect("board");
        board.writer(0).expect("line").claim(7, 100);
        assert_eq!(of(&board, Line(0), Pid(8), WorkerClass::Gevent), Sample::default());
    }
}
