//! The hooks that are called before the master's loop runs, in gunicorn's order.

use std::path::Path;
use std::time::Duration;

use remuda_channel::{FromHerald, ToHerald};
use remuda_runtime::{Halt, Herald, HeraldError, Identity};
use remuda_settings::{PythonFile, Settings};

use remuda::plan;

use crate::failure::Failure;
use crate::reading::{PATIENCE, question};

/// The herald, if the user has hooks for it.
pub(crate) struct MasterHooks {
    herald: Option<Herald>,
    patience: Duration,
}

impl MasterHooks {
    /// Keeps or starts the herald where there is something to call, and lets it go where not.
    pub(crate) fn prepare(
        settings: &Settings,
        file: Option<&PythonFile>,
        identity: Option<&Identity>,
        herald: Option<Herald>,
        (python, halt): (&Path, &Halt),
    ) -> Result<Self, Failure> {
        let patience = settings.boot_timeout;
        if !plan::has_herald_hooks(settings) {
            if let Some(herald) = herald {
                herald.dismiss();
            }
            return Ok(Self { herald: None, patience });
        }
        let herald = match herald {
            Some(herald) => herald,
            None => begin(file, python, halt)?,
        };
        let master = i32::try_from(std::process::id()).unwrap_or_default();
        let plan = Box::new(plan::for_workers(settings, Vec::new(), file, identity));
        herald.say(&ToHerald::Settled { master, plan })?;
        Ok(Self { herald: Some(herald), patience })
    }

    /// Calls a hook and waits for it. One that raises keeps the service from starting, as in
    /// gunicorn.
    pub(crate) fn call(&self, name: &'static str) -> Result<(), Failure> {
        let Some(herald) = &self.herald else { return Ok(()) };
        let question = ToHerald::Call { hook: name.to_owned() };
        match herald.ask(&question, self.patience)? {
            FromHerald::Called { error: None, .. } => Ok(()),
            // Of one that was called before, perhaps; its name stands there.
            FromHerald::Called { error: Some(error), .. }
            | FromHerald::Unreadable { text: error } => Err(Failure::Hook { hook: name, error }),
            FromHerald::Values { .. } => Err(HeraldError::Gone.into()),
        }
    }

    /// Says what is listened on.
    pub(crate) fn tell_bound(&self, urls: &str) -> Result<(), Failure> {
        let Some(herald) = &self.herald else { return Ok(()) };
        let listeners = urls.split(',').map(str::to_owned).collect();
        Ok(herald.say(&ToHerald::Bound { listeners })?)
    }

    /// For the master's loop.
    pub(crate) fn into_herald(self) -> Option<Herald> {
        self.herald
    }
}

/// A herald that has run the file, if there is one.
fn begin(file: Option<&PythonFile>, python: &Path, halt: &Halt) -> Result<Herald, Failure> {
    let herald = Herald::start(python, halt.clone())?;
    if let Some(file) = file
        && let FromHerald::Unreadable { text } =
            herald.ask(&question(Some(file), None), PATIENCE)?
    {
        return Err(Failure::File(text));
    }
    Ok(herald)
}
