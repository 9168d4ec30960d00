//! What an HTTP request and a WebSocket connection through an ASGI app have in common.

use std::cell::Cell;
use std::rc::Rc;

use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use remuda_front::{Client, Exchange, Watcher};
use remuda_scoreboard::Ticket;

use super::respond::{Progress, Responder};
use super::task::{AppTask, Ended};
use super::waiter::Waiter;
use super::{ClientDisconnected, Conversation, Ready, RequestName, Shared, offer_time};
use crate::overdue::{Clock, Flight};
use crate::serving::Serving;

/// A task of the app and its client.
pub(super) struct Talk<S> {
    pub(super) serving: Rc<Serving>,
    pub(super) shared: Rc<Shared>,
    pub(super) client: Client,
    pub(super) name: RequestName,
    /// To be given back when no limit of time for requests applies any more.
    pub(super) ticket: Cell<Option<Ticket>>,
    pub(super) responder: Responder,
    receiver: Waiter,
    pub(super) sender: Waiter,
    task: AppTask,
    pub(super) clock: Clock,
    /// Its place among those that limits of time apply to.
    place: Cell<Option<usize>>,
    due: Cell<bool>,
    /// What only one of the two has.
    pub(super) own: S,
}

/// Where the two differ.
pub(super) trait Own: Sized + 'static {
    /// Whether what the app sends would reach nobody.
    fn is_gone(talk: &Talk<Self>) -> bool;

    /// Whether the client has read enough for the app to send more.
    fn has_room(talk: &Talk<Self>) -> bool;

    /// What `receive` can give now.
    fn next_event<'py>(talk: &Talk<Self>, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>>;
}

impl<S: Own> Talk<S> {
    pub(super) fn new(
        serving: &Rc<Serving>,
        shared: &Rc<Shared>,
        exchange: Exchange,
        ticket: Ticket,
        own: S,
    ) -> Rc<Self> {
        let talk = Rc::new(Self {
            serving: serving.clone(),
            shared: shared.clone(),
            client: exchange.client(),
            name: RequestName::of(&exchange),
            ticket: Cell::new(Some(ticket)),
            responder: Responder::new(serving.clone(), exchange),
            receiver: Waiter::default(),
            sender: Waiter::default(),
            task: AppTask::default(),
            clock: Clock::new(ticket),
            place: Cell::default(),
            due: Cell::new(false),
            own,
        });
        talk.responder.watch(talk.clone());
        talk
    }

    /// Starts the task; how it has ended, if it has already. `conversation` gives the app `receive`
    /// and `send`.
    pub(super) fn start<T: PyClass>(
        &self,
        scope: Bound<'_, PyDict>,
        conversation: PyResult<Bound<'_, T>>,
    ) -> Option<Ended> {
        match conversation {
            Ok(conversation) => {
                let (py, app) = (scope.py(), &self.serving.app);
                offer_time(&scope, conversation.as_any());
                self.task.start(py, &self.shared, app, scope, conversation.as_any())
            }
            Err(error) => Some(Ended::Raised(error)),
        }
    }

    /// Puts it under the limits of time, if there are any.
    pub(super) fn limit(self: &Rc<Self>) {
        if self.serving.flights.are_watched() {
            self.place.set(Some(self.serving.flights.watch(self.clone())));
        }
    }

    /// No limit of time applies from now on.
    pub(super) fn lift_limits(&self) {
        self.clock.end();
        if let Some(place) = self.place.take() {
            self.serving.flights.forget(place);
        }
    }

    /// The task has ended.
    pub(super) fn end(&self, py: Python<'_>) {
        self.task.end(py);
        self.receiver.forget();
        self.sender.forget();
        self.lift_limits();
    }

    /// ASGI's `receive`.
    pub(super) fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match S::next_event(self, py)? {
            Some(event) => Ready::with(py, event),
            None => self.receiver.wait(py, &self.shared),
        }
    }
}

impl<S: Own> Watcher for Talk<S> {
    fn changed(self: Rc<Self>) {
        if !self.due.replace(true) {
            let shared = self.shared.clone();
            shared.have_wake(self);
        }
    }
}

impl<S: Own> Flight for Talk<S> {
    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn name(&self) -> RequestName {
        self.name.clone()
    }

    fn stack(&self, py: Python<'_>) -> PyResult<String> {
        self.task.stack(py, &self.shared)
    }

    fn is_answered(&self) -> bool {
        self.responder.progress() == Progress::Complete
    }

    fn break_off(&self, py: Python<'_>) -> PyResult<bool> {
        self.responder.cut(504, "");
        self.task.cancel(py)?;
        Ok(false)
    }
}

impl<S: Own> Conversation for Talk<S> {
    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        self.due.set(false);
        let is_leaving = self.client.is_leaving() || S::is_gone(self);
        self.task.look_for_client(py, &self.shared, is_leaving)?;
        if self.receiver.is_waiting(py)?
            && let Some(event) = S::next_event(self, py)?
        {
            self.receiver.resolve(py, event.into_any())?;
        }
        if S::is_gone(self) {
            self.sender.fail(py, ClientDisconnected::new_err(()))?;
        } else if S::has_room(self) {
            self.sender.resolve(py, py.None())?;
        }
        Ok(())
    }
}
