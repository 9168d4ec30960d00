//! What was asked for, as texts, each with its origin. Sources are laid over each other here.

use std::collections::BTreeMap;

use crate::{Kind, Origin, Setting};

/// A value as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// One text, or many where the setting takes many.
    pub(crate) texts: Vec<String>,
    /// Where it came from.
    pub(crate) origin: Origin,
}

impl Given {
    pub(crate) fn one(text: impl Into<String>, origin: Origin) -> Self {
        Self { texts: vec![text.into()], origin }
    }

    /// The value as one text.
    pub(crate) fn text(&self) -> String {
        self.texts.join(", ")
    }

    /// The value as log and pages may show it: of the app's variables, only the names, because
    /// their values are often secrets; of a table, that it is one.
    pub(crate) fn shown(&self, setting: &Setting) -> String {
        if setting.kind == Kind::Python && self.text().starts_with('{') {
            return "{…}".to_owned();
        }
        if setting.kind != Kind::Pairs {
            return self.text();
        }
        let name_of = |text: &String| {
            text.split_once('=').map_or("…".to_owned(), |(name, _)| format!("{}=…", name.trim()))
        };
        self.texts.iter().map(name_of).collect::<Vec<_>>().join(", ")
    }
}

/// Values by the name of their setting: of one source, or of all of them laid over each other, the
/// weakest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes(BTreeMap<&'static str, Vec<Given>>);

impl Wishes {
    pub(crate) fn set(&mut self, setting: &Setting, given: Given) {
        self.0.entry(setting.name).or_default().push(given);
    }

    pub(crate) fn get(&self, setting: &Setting) -> Option<&Given> {
        self.0.get(setting.name)?.last()
    }

    /// What the value of [`Self::get`] has overridden, the strongest first.
    pub(crate) fn overridden(&self, setting: &Setting) -> impl Iterator<Item = &Given> {
        self.0.get(setting.name).into_iter().flatten().rev().skip(1)
    }

    /// Lays a stronger source over this one. Lists are replaced, not joined, as in gunicorn.
    pub(crate) fn overlay(&mut self, stronger: Self) {
        for (name, given) in stronger.0 {
            self.0.entry(name).or_default().extend(given);
        }
    }

    /// What was given, or the default.
    pub(crate) fn get_or_default(&self, setting: &Setting) -> Given {
        self.get(setting).cloned().unwrap_or_else(|| Given {
            texts: match setting.default {
                "" if setting.kind.is_many() => Vec::new(),
                default => vec![default.to_owned()],
            },
            origin: Origin::Default,
        })
    }
}
