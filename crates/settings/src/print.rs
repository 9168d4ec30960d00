//! The table as pages: `--print-config` and the reference of all settings.

use std::fmt::Write;

use crate::wishes::Wishes;
use crate::{Group, Kind, Origin, Setting, Support, table};

/// One line a setting, sorted by name, in gunicorn's form; the origin stands behind a `#`.
pub(crate) fn config_page(wishes: &Wishes) -> String {
    let mut settings: Vec<_> = table::all().collect();
    settings.sort_by_key(|setting| setting.name);
    let width = settings.iter().map(|setting| setting.name.len()).max().unwrap_or(0);
    let mut page = String::new();
    for setting in settings {
        let given = wishes.get_or_default(setting);
        let text = match given.shown(setting) {
            text if text.is_empty() => "None".to_owned(),
            text => text,
        };
        let origin = match given.origin {
            Origin::Default => String::new(),
            origin => format!("  # {origin}"),
        };
        push(&mut page, format_args!("{:width$} = {text}{origin}\n", setting.name));
    }
    page
}

/// `remuda config explain`: what was given, where it came from, and what it has overridden.
pub(crate) fn explain_page(wishes: &Wishes) -> String {
    let mut page = String::new();
    for setting in table::all() {
        let Some(given) = wishes.get(setting) else { continue };
        push(&mut page, format_args!("{} = {}\n", setting.name, given.shown(setting)));
        push(&mut page, format_args!("    from: {}\n", given.origin));
        for weaker in wishes.overridden(setting) {
            let (text, origin) = (weaker.shown(setting), &weaker.origin);
            push(&mut page, format_args!("    overrides: {text} ({origin})\n"));
        }
        let default = match setting.default {
            "" => "none",
            default => default,
        };
        push(&mut page, format_args!("    default: {default}\n"));
    }
    if page.is_empty() {
        page.push_str("Every setting has its default.\n");
    }
    page
}

/// `docs/reference/settings.md`.
#[must_use]
pub fn reference_page() -> String {
    let mut page = HEAD.to_owned();
    for group in Group::ALL {
        let settings = || table::all().filter(|s| s.group == group && s.is_full());
        if settings().next().is_none() {
            continue;
        }
        push(&mut page, format_args!("\n## {}\n", group.title()));
        for setting in settings() {
            section(&mut page, setting);
        }
    }
    without_effect(&mut page);
    page
}

const HEAD: &str = "\
<!-- Made from crates/settings by `UPDATE=1 cargo test -p remuda-settings`. Do not edit. -->

# Settings

Each setting can be given as a flag, as a variable `GUNICORN_<SETTING>`, or by its name in a
file. The later one wins:

1. default
2. the platform's variables `PORT`, `WEB_CONCURRENCY`, `FORWARDED_ALLOW_IPS`, `SENDFILE`
3. one file: the one named by `--config`, or else the first of `gunicorn.conf.py`, `remuda.toml`
   and `[tool.remuda]` in `pyproject.toml` that is in the start directory
4. `GUNICORN_<SETTING>`
5. flags in `GUNICORN_CMD_ARGS`
6. flags of the command line

An empty variable counts as unset. `remuda --print-config` shows every value and its origin,
`remuda config explain` also what it has overridden.
Seconds may be fractions (`0.5`) and have a unit (`500ms`, `30s`, `2m`, `1h`).
";

fn section(page: &mut String, setting: &Setting) {
    push(page, format_args!("\n### `{}`\n\n{}.", setting.name, setting.short));
    if !setting.long.is_empty() {
        push(page, format_args!("\n\n{}", setting.long));
    }
    let default = match setting.default {
        "" => "none".to_owned(),
        default => format!("`{default}`"),
    };
    push(page, format_args!("\n\n- value: {}\n- default: {default}\n", setting.kind));
    if !setting.flags.is_empty() {
        push(page, format_args!("- flag: {}\n", flags(setting)));
    }
    push(page, format_args!("- variable: `{}`", setting.variable()));
    if let Some(variable) = setting.platform_variable {
        push(page, format_args!(", and `{variable}` below the file"));
    }
    page.push('\n');
    if !setting.gunicorn {
        page.push_str("- not in gunicorn\n");
    }
}

fn flags(setting: &Setting) -> String {
    let value = if setting.kind == Kind::Switch { "" } else { " …" };
    let short = setting.short_flag.map(|letter| format!("`-{letter}{value}`"));
    let long = setting.flags.iter().map(|flag| format!("`--{flag}{value}`"));
    short.into_iter().chain(long).collect::<Vec<_>>().join(", ")
}

fn without_effect(page: &mut String) {
    page.push_str(
        "\n## Without effect\n\nThese are known from gunicorn. Giving one is no mistake, but \
         does nothing except for a warning.\n\n\
         | setting | what it is in gunicorn | here |\n| --- | --- | --- |\n",
    );
    let mut settings: Vec<_> = table::all().filter(|setting| !setting.is_full()).collect();
    settings.sort_by_key(|setting| setting.name);
    for setting in settings {
        let here = match setting.support {
            Support::Full => continue,
            Support::Ignored { why } => why,
        };
        push(page, format_args!("| `{}` | {} | {here} |\n", setting.name, setting.short));
    }
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(text);
}
