//! All settings as Python sees them: what hooks read on `cfg`, in the types that gunicorn gives.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::wishes::{Given, Wishes};
use crate::{Kind, Setting, table, value};

/// Texts that gunicorn has as empty ones, where others are `None`.
const EMPTY: [&str; 3] = ["dogstatsd_tags", "statsd_prefix", "root_path"];

/// Every setting that is no function of a file.
pub(crate) fn values(wishes: &Wishes) -> BTreeMap<String, Value> {
    let settings = table::all().filter_map(|setting| {
        let given = wishes.get_or_default(setting);
        Some((setting.name.to_owned(), value_of(setting, &given)?))
    });
    settings.collect()
}

fn value_of(setting: &Setting, given: &Given) -> Option<Value> {
    let text = given.text();
    // Of these only their name came here.
    if text.starts_with('<') && text.ends_with("()>") {
        return None;
    }
    let texts = || json!(given.texts);
    Some(match setting.kind {
        Kind::Pairs if *setting == table::SECURE_SCHEME_HEADERS => headers(&given.texts),
        kind if kind.is_many() => texts(),
        Kind::Python if text.is_empty() && setting.name == "logconfig_dict" => json!({}),
        Kind::Python => serde_json::from_str(&text).unwrap_or(Value::Null),
        _ if text.is_empty() && EMPTY.contains(&setting.name) => json!(""),
        _ if text.is_empty() => Value::Null,
        Kind::LogTarget { or_none: true } if text.eq_ignore_ascii_case("none") => Value::Null,
        Kind::Switch => json!(value::switch(&text).ok()),
        Kind::Whole { min, max } => json!(value::whole(&text, min, max).ok()),
        // `auto` is a number only once CPUs have been counted.
        Kind::Workers { max } => json!(value::workers(&text, max).ok().flatten()),
        Kind::Bytes { max } => json!(value::bytes(&text, max).ok()),
        Kind::Seconds(zero) => seconds(&text, zero),
        Kind::Mode => json!(value::mode(&text).ok()),
        Kind::CommaChoices(_) | Kind::CommaList("names") | Kind::Networks => {
            json!(value::commas(&text))
        }
        _ => json!(text),
    })
}

fn headers(texts: &[String]) -> Value {
    let pairs = texts.iter().flat_map(|text| value::commas(text));
    let pairs = pairs.filter_map(|pair| value::pair(&pair).ok());
    pairs.map(|(name, value)| (name, Value::String(value))).collect()
}

/// A whole number where it is one, as everywhere in gunicorn.
fn seconds(text: &str, zero: crate::Zero) -> Value {
    match value::seconds(text, zero) {
        Ok(length) if length.subsec_nanos() == 0 => json!(length.as_secs()),
        Ok(length) => json!(length.as_secs_f64()),
        Err(_) => Value::Null,
    }
}
