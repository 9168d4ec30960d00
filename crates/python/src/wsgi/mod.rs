//! One request through a WSGI app: environ, the call, the response.

mod environ;
mod failure;
mod files;
mod flight;
mod phrases;
mod respond;
mod start_response;

pub(crate) use environ::EnvironBuilder;
pub(crate) use failure::{describe, page};
pub(crate) use files::{Closing, FileWrapper, Files};
pub(crate) use phrases::{Phrases, is_ours};
pub(crate) use respond::run;
pub(crate) use start_response::{StartResponse, owned};
