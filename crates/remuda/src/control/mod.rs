//! `remuda status`, `reload`, `upgrade`, `stop`, `memory-profile`: asks a running master, and shows its answer.

mod find;
mod show;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use remuda_channel::{Answer, Ask, PROFILE_SECONDS_MAX};
use remuda_journal::exit;

/// The commands, and what each is for.
const COMMANDS: [(&str, &str); 5] = [
    ("status", "Show what the workers of a running service do"),
    ("reload", "Load the app's code again, and wait until it serves or fails"),
    ("upgrade", "Start a new master beside the old one, and wait until it serves or fails"),
    ("stop", "Finish what is in flight, leave, and wait for that"),
    ("memory-profile", "Have a worker tell the log which lines its memory grows by"),
];

/// Why nobody could be asked, or what was answered instead.
type Refusal = String;

/// Runs a command, if the first argument is one. An app with such a name can be given as
/// `status:application`.
pub(crate) fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let name = arguments.first()?.to_str()?;
    let (name, about) = COMMANDS.into_iter().find(|(known, _)| *known == name)?;
    let matches = match command(name, about).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let status = if error.use_stderr() { exit::USAGE.code } else { exit::STOPPED.code };
            // Nobody is there to be told.
            let _ = error.print();
            return Some(ExitCode::from(status));
        }
    };
    Some(match carry_out(name, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            eprintln!("Error: {refusal}");
            ExitCode::from(exit::UNABLE.code)
        }
    })
}

fn command(name: &'static str, about: &'static str) -> Command {
    let socket = Arg::new("socket")
        .long("control-socket")
        .short('s')
        .value_name("PATH")
        .value_parser(clap::value_parser!(PathBuf))
        .help("The master's control socket; else GUNICORN_CONTROL_SOCKET, else the only one here");
    let pid = Arg::new("pid")
        .long("pid")
        .value_name("PID")
        .value_parser(clap::value_parser!(u32))
        .conflicts_with("socket")
        .help("The master's process id, where several run");
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON");
    let command =
        Command::new(name).bin_name(format!("remuda {name}")).about(about).arg(socket).arg(pid);
    match name {
        "status" => command.arg(json),
        "stop" => command.arg(
            Arg::new("now")
                .long("now")
                .action(ArgAction::SetTrue)
                .help("Break off what is in flight"),
        ),
        "memory-profile" => command
            .arg(
                Arg::new("slot")
                    .value_name("SLOT")
                    .default_value("0")
                    .value_parser(clap::value_parser!(u16))
                    .help("The worker's slot, as `remuda status` shows it"),
            )
            .arg(
                Arg::new("seconds")
                    .value_name("SECONDS")
                    .default_value("30")
                    .value_parser(
                        clap::value_parser!(u16).range(1..=i64::from(PROFILE_SECONDS_MAX)),
                    )
                    .help("How long it is traced"),
            ),
        _ => command,
    }
}

fn carry_out(name: &str, matches: &ArgMatches) -> Result<(), Refusal> {
    let path = find::socket(matches.get_one::<PathBuf>("socket"), matches.get_one::<u32>("pid"))?;
    let ask = match name {
        "status" => Ask::Status,
        "reload" => Ask::Reload,
        "upgrade" => Ask::Upgrade,
        "memory-profile" => {
            let number = |name| matches.get_one::<u16>(name).copied().unwrap_or_default();
            Ask::MemoryProfile { slot: number("slot"), seconds: number("seconds") }
        }
        _ if matches.get_flag("now") => Ask::Quit,
        _ => Ask::Stop,
    };
    let (answer, connection) = ask_at(&path, ask)?;
    if !answer.ok {
        return Err(answer
            .error
            .unwrap_or_else(|| "the master refuses, and does not say why".into()));
    }
    let text = match &answer.status {
        Some(status) if matches.get_flag("json") => show::json(status),
        Some(status) => show::table(status),
        None => answer.message.unwrap_or_default() + "\n",
    };
    // A closed pipe (`remuda status | head -1`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if matches!(ask, Ask::Stop | Ask::Quit) {
        wait_for_the_end(connection);
    }
    Ok(())
}

fn ask_at(path: &Path, ask: Ask) -> Result<(Answer, BufReader<UnixStream>), Refusal> {
    let failed = |error: std::io::Error| {
        format!(
            "no answer from {}: {error}\n  hint: is the service running, and are you its user?",
            path.display()
        )
    };
    let mut connection = UnixStream::connect(path).map_err(failed)?;
    connection.write_all(ask.line().as_bytes()).map_err(failed)?;
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    connection.read_line(&mut line).map_err(failed)?;
    if line.is_empty() {
        return Err(format!("the master at {} has ended without an answer", path.display()));
    }
    let answer = serde_json::from_str(&line).map_err(|error| {
        format!(
            "{} does not speak remuda's language: {error}\n  \
             hint: another program, or another version, listens there",
            path.display()
        )
    })?;
    Ok((answer, connection))
}

/// The connection lasts as long as the master.
fn wait_for_the_end(mut connection: BufReader<UnixStream>) {
    let mut rest = String::new();
    while connection.read_line(&mut rest).is_ok_and(|length| length > 0) {
        rest.clear();
    }
}
