//! How long each worker's oldest request, or its loop, has stood still.

use std::time::Duration;

use remuda_channel::WorkerClass;
use remuda_scoreboard::{Board, LineView};
use remuda_supervisor::{Line, Pid, Tick};

/// Reads what a worker says of itself. A line that names another process is not believed.
pub(crate) fn standing_since(
    board: &Board,
    line: Line,
    pid: Pid,
    class: WorkerClass,
) -> Option<Tick> {
    let view = board.read(line.0);
    if view.pid != u64::try_from(pid.0).unwrap_or(0) {
        return None;
    }
    let since = match class {
        WorkerClass::Sync => view.oldest_start_ns,
        // Beaten once a second while the loop is well; idle or not.
        WorkerClass::Gthread | WorkerClass::Gevent | WorkerClass::Asgi => view.loop_beat_ns,
    };
    (since > 0).then_some(Tick(since))
}

/// The request that a hung worker is most likely busy with: `GET /path`, or a word that says that
/// none is known. In a loop that stands still it is the one that began last; the older ones wait.
pub(crate) fn request_text(view: &LineView, class: WorkerClass) -> String {
    let request = match class {
        WorkerClass::Sync => &view.oldest,
        WorkerClass::Gthread | WorkerClass::Gevent | WorkerClass::Asgi => &view.latest,
    };
    if request.method.is_empty() {
        "(no request known)".to_owned()
    } else {
        format!("{} {}", request.method, request.path)
    }
}

/// How often the scoreboard is read: often enough to notice a timeout within a quarter of it.
pub(crate) fn pace(timeout: Duration) -> Duration {
    (timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_sync_worker_stands_for_no_time() {
        let (board, _fd) = Board::create(1).expect("board");
        let writer = board.writer(0).expect("line");
        writer.claim(7, 100);
        let since = |class| standing_since(&board, Line(0), Pid(7), class);
        assert_eq!(since(WorkerClass::Sync), None);
        assert_eq!(since(WorkerClass::Gevent), Some(Tick(100)));
        let slow = writer.begin(200, "GET", "/slow");
        let quick = writer.begin(300, "GET", "/quick");
        assert_eq!(since(WorkerClass::Sync), Some(Tick(200)));
        assert_eq!(request_text(&board.read(0), WorkerClass::Sync), "GET /slow");
        assert_eq!(request_text(&board.read(0), WorkerClass::Asgi), "GET /quick");
        writer.end(slow);
        writer.end(quick);
        assert_eq!(request_text(&board.read(0), WorkerClass::Asgi), "(no request known)");
    }

    #[test]
    fn a_line_of_another_process_is_not_believed() {
        let (board, _fd) = Board::create(1).expect("board");
        board.writer(0).expect("line").claim(7, 100);
        assert_eq!(standing_since(&board, Line(0), Pid(8), WorkerClass::Gevent), None);
    }
}
