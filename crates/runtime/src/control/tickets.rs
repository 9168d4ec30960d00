//! Who waits for the end of something: each ticket is answered once, by the log's own notices.

use remuda_channel::Answer;
use remuda_supervisor::{Generation, Notice};
use tokio::sync::oneshot::Sender;

/// Clients that wait for a reload or an upgrade.
#[derive(Default)]
pub(crate) struct Tickets {
    /// With the generation that will answer it, once that is known: a reload that is asked for
    /// while another is under way is the next one.
    reloads: Vec<(Option<Generation>, Sender<Answer>)>,
    upgrades: Vec<Sender<Answer>>,
}

impl Tickets {
    pub(crate) fn wait_for_reload(&mut self, client: Sender<Answer>) {
        self.reloads.push((None, client));
    }

    pub(crate) fn wait_for_upgrade(&mut self, client: Sender<Answer>) {
        self.upgrades.push(client);
    }

    /// `why`: what the zygote that failed last has said.
    pub(crate) fn hear(&mut self, notice: &Notice, why: &str) {
        match notice {
            Notice::ReloadStarted { generation, .. } => {
                self.reloads.iter_mut().for_each(|(of, _)| *of = of.or(Some(*generation)));
            }
            // What is loaded instead answers.
            Notice::ReloadOvertaken { generation } => {
                self.reloads.iter_mut().for_each(|(of, _)| *of = of.filter(|of| of != generation));
            }
            Notice::ReloadDone { generation, took } => {
                let message =
                    format!("generation {} serves after {} ms", generation.0, took.as_millis());
                self.answer_reloads(*generation, &Answer::done(message));
            }
            Notice::ReloadGivenUp { generation, serving, .. } => {
                let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
                let error =
                    format!("the new code does not run{why}; generation {} serves on", serving.0);
                self.answer_reloads(*generation, &Answer::failed(error));
            }
            Notice::HandedOver { pid, .. } => {
                self.answer_upgrades(&Answer::done(format!("a new master serves (pid {})", pid.0)));
            }
            Notice::UpgradeRefused { why } => {
                self.answer_upgrades(&Answer::failed(format!("there is no upgrade now: {why}")));
            }
            Notice::UpgradeGivenUp { .. } => {
                let error = "the new master does not serve, see the log; this one serves on";
                self.answer_upgrades(&Answer::failed(error));
            }
            Notice::Stopping { .. } => self.answer_all("the service stops"),
            _ => {}
        }
    }

    fn answer_reloads(&mut self, ended: Generation, answer: &Answer) {
        let is_meant = |of: &Option<Generation>| of.is_some_and(|of| of <= ended);
        for (_, client) in self.reloads.extract_if(.., |(of, _)| is_meant(of)) {
            // One that is gone does not want to know.
            let _ = client.send(answer.clone());
        }
    }

    fn answer_upgrades(&mut self, answer: &Answer) {
        for client in self.upgrades.drain(..) {
            let _ = client.send(answer.clone());
        }
    }

    fn answer_all(&mut self, why: &str) {
        let reloads = self.reloads.drain(..).map(|(_, client)| client);
        for client in reloads.chain(self.upgrades.drain(..)) {
            let _ = client.send(Answer::failed(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use remuda_supervisor::Occasion;
    use tokio::sync::oneshot::channel;

    use super::*;

    #[test]
    fn a_reload_that_is_asked_for_during_another_is_answered_by_the_next() {
        let mut tickets = Tickets::default();
        let (first, mut first_answer) = channel();
        let (second, mut second_answer) = channel();
        tickets.wait_for_reload(first);
        tickets.hear(
            &Notice::ReloadStarted { generation: Generation(2), occasion: Occasion::Asked },
            "",
        );
        tickets.wait_for_reload(second);
        let took = Duration::from_millis(7);
        tickets.hear(&Notice::ReloadDone { generation: Generation(2), took }, "");
        let answer = first_answer.try_recv().expect("answered");
        assert_eq!(answer, Answer::done("generation 2 serves after 7 ms"));
        assert!(second_answer.try_recv().is_err(), "its code may be newer than that");
        tickets.hear(
            &Notice::ReloadStarted { generation: Generation(3), occasion: Occasion::Asked },
            "",
        );
        let (generation, serving) = (Generation(3), Generation(2));
        tickets.hear(&Notice::ReloadGivenUp { generation, serving, failure: None }, "a typo");
        let error = second_answer.try_recv().expect("answered").error.expect("an error");
        assert_eq!(error, "the new code does not run (a typo); generation 2 serves on");
    }

    #[test]
    fn a_stop_answers_everybody() {
        let mut tickets = Tickets::default();
        let (reload, mut reloaded) = channel();
        let (upgrade, mut upgraded) = channel();
        tickets.wait_for_reload(reload);
        tickets.wait_for_upgrade(upgrade);
        tickets.hear(&Notice::Stopping { reason: None }, "");
        for answer in [&mut reloaded, &mut upgraded] {
            assert_eq!(answer.try_recv(), Ok(Answer::failed("the service stops")));
        }
    }
}
