//! The control socket: where operators ask, and where they are answered.
//!
//! ```text
//!  client ──line──▶ task ──Ask──▶ the master's loop ──Answer──▶ task ──line──▶ client
//! ```
//!
//! A client is a task that can wait for as long as it likes: the loop is only ever given whole,
//! valid requests of the right user, after all that keeps the service up. How many clients there
//! are, how long they may take and how much they may send is bounded; the others wait in the
//! socket's own queue.

mod place;
mod status;
mod tickets;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::geteuid;
use remuda_channel::{Answer, Ask, REQUEST_BYTES_MAX};
use remuda_journal::log;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

pub use place::{ControlSocket, Place};
pub(crate) use tickets::Tickets;

/// A request, and where its answer goes.
pub(crate) type Asked = (Ask, oneshot::Sender<Answer>);

/// Clients at one time; the others wait.
pub(crate) const CLIENTS_MAX: usize = 32;
/// For a whole request to come, and for an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an accept that has failed, most often for want of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Accepts clients for as long as the master lives. To be called inside the loop's tasks.
pub(crate) fn listen(listener: UnixListener, to: Sender<Asked>) {
    let seats = Arc::new(Semaphore::new(CLIENTS_MAX));
    tokio::task::spawn_local(async move {
        let mut has_failed = false;
        while let Ok(seat) = seats.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((client, _)) => {
                    let to = to.clone();
                    tokio::task::spawn_local(async move {
                        // One that is gone or slow has only harmed itself.
                        let _ = serve(client, &to).await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        log!(CONTROL_ACCEPT_FAILED, error = error);
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    });
}

async fn serve(mut client: UnixStream, to: &Sender<Asked>) -> io::Result<()> {
    let user = client.peer_cred()?.uid();
    let ask = if user == geteuid().as_raw() || user == 0 {
        read(&mut client).await?
    } else {
        Err(format!("user {user} is neither this service's user nor root"))
    };
    let ask = match ask {
        Ok(ask) => ask,
        Err(error) => return answer(&mut client, &Answer::failed(error)).await,
    };
    let (reply, replied) = oneshot::channel();
    let is_sent = to.send((ask, reply)).await.is_ok();
    let given = if is_sent { replied.await.ok() } else { None };
    let given = given.unwrap_or_else(|| Answer::failed("the master has ended"));
    answer(&mut client, &given).await?;
    if matches!(ask, Ask::Stop | Ask::Quit) && given.ok {
        // The end of the connection tells it that the master is gone.
        let _ = client.read(&mut [0; 1]).await;
    }
    Ok(())
}

/// One line; an error is what to answer.
async fn read(client: &mut UnixStream) -> io::Result<Result<Ask, String>> {
    let mut line = Vec::new();
    let whole = timeout(PATIENCE, async {
        let mut piece = [0; 512];
        loop {
            let length = client.read(&mut piece).await?;
            let end = piece[..length].iter().position(|byte| *byte == b'\n');
            line.extend_from_slice(&piece[..end.unwrap_or(length)]);
            if length == 0 || end.is_some() || line.len() > REQUEST_BYTES_MAX {
                return io::Result::Ok(());
            }
        }
    });
    match whole.await {
        Ok(read) => read.map(|()| Ask::parse(&line)),
        Err(_) => Ok(Err("no request within 5 seconds".to_owned())),
    }
}

async fn answer(client: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    timeout(PATIENCE, client.write_all(&line)).await?
}
