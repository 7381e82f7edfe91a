//! Runs the commands: one call or a few of the API each, then print. Knows flags, API and formats; has no rules of its own.

mod docs;
mod endpoint;
mod events;
mod exec;
mod flow;
mod list;
mod names;
mod network;
mod port;
mod prune;
mod sandbox;
mod system;
mod watch;

use std::io::Write;

use prost_types::FieldMask;
use serde_json::Value;

use crate::{
    cli::{Cli, Command, Output, SystemCommand},
    client::Client,
    failure::{Failure, Result},
    format::{
        json::pretty,
        template::{Missing, Template},
    },
};

/// Runs a command.
///
/// # Errors
/// The daemon's refusal, or no daemon.
pub async fn run(cli: Cli) -> Result<()> {
    let command = match cli.command {
        Command::Completions { shell } => return docs::completions(shell),
        Command::Man { command, directory } => return docs::man(&command, directory.as_deref()),
        command => command,
    };
    // What the command line alone decides is said without a daemon.
    match &command {
        Command::Network(command) => network::check(command)?,
        Command::Events(flags) => events::check(flags)?,
        _ => {}
    }
    let client = Client::connect(&cli.connection).await?;
    match command {
        Command::Network(command) => network::run(&client, command, cli.output).await,
        Command::Sandbox(command) => sandbox::run(&client, command, cli.output).await,
        Command::Endpoint(command) => endpoint::run(&client, command, cli.output).await,
        Command::Names(command) => names::run(&client, command, cli.output).await,
        Command::Port(command) => port::run(&client, command, cli.output).await,
        Command::Flows(flags) => flow::run(&client, *flags, cli.output).await,
        Command::Drops(flags) if flags.follow => system::follow(&client, flags, cli.output).await,
        Command::Drops(_) => system::drops(&client, cli.output).await,
        Command::Stats => system::stats(&client, cli.output).await,
        Command::Status => system::status(&client, cli.output).await,
        Command::Events(flags) => events::run(&client, &flags, cli.output).await,
        Command::System(SystemCommand::Watch(flags)) => {
            watch::run(&client, flags, cli.output).await
        }
        Command::System(SystemCommand::Reconcile) => system::reconcile(&client, cli.output).await,
        Command::Completions { .. } | Command::Man { .. } => Ok(()),
    }
}

/// Writes to standard output at once.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// All pages of a list; `page` asks for one by its token, and gives what is on it and the next one's token.
async fn pages<T, F>(page: impl Fn(String) -> F) -> Result<Vec<T>>
where
    F: Future<Output = std::result::Result<(Vec<T>, String), tonic::Status>>,
{
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let (more, next) = page(token).await?;
        all.extend(more);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

/// The names of the fields that are set.
fn set_fields<'a>(fields: &[(&'a str, bool)]) -> Vec<&'a str> {
    let set = fields.iter().filter(|(_, is_set)| *is_set);
    set.map(|(path, _)| *path).collect()
}

/// The fields that an update sets.
fn mask(paths: &[&str]) -> Option<FieldMask> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    Some(FieldMask { paths })
}

/// Prints the text, or the JSON if that is wanted.
fn answer(
    output: Output,
    text: impl FnOnce() -> String,
    json: impl FnOnce() -> Value,
) -> Result<()> {
    match output {
        Output::Text => print(&text()),
        Output::Json => print(&pretty(&json())),
    }
}

/// The template of `--format`; `json` is a line of JSON for each object, as in Docker.
fn wanted(format: Option<String>) -> Result<Option<Template>> {
    let text = match format.as_deref() {
        None | Some("") => return Ok(None),
        Some("json") => "{{json .}}",
        Some(text) => text,
    };
    Template::parse(text).map(Some).map_err(Failure::new)
}

/// Prints what `inspect` found, then says what it did not; the array is printed even if it is empty.
fn inspected(
    output: Output,
    found: &[Value],
    failures: &[Failure],
    template: Option<&Template>,
) -> Result<()> {
    let shown = match template {
        None => print(&pretty(&Value::Array(found.to_vec()))),
        Some(template) => found.iter().try_for_each(|value| {
            let text = template.render(value, Missing::Key).map_err(Failure::new)?;
            print(&(text + "\n"))
        }),
    };
    ended(output, shown, failures)
}

/// Says all failures, behind what was `shown`; none is success. That nobody reads the output makes no success of a failure.
fn ended(output: Output, shown: Result<()>, failures: &[Failure]) -> Result<()> {
    if failures.is_empty() {
        return shown;
    }
    for failure in shown.as_ref().err().into_iter().chain(failures) {
        failure.print(output);
    }
    Err(Failure::reported())
}

/// Does something to each of the objects named, prints the names of those where it was done, then says where it could not
/// be. A missing one is fine with `force`.
async fn each(
    output: Output,
    names: Vec<String>,
    force: bool,
    act: impl AsyncFn(String) -> std::result::Result<(), tonic::Status>,
) -> Result<()> {
    let mut done = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match act(name.clone()).await.map_err(Failure::from) {
            Ok(()) => done.push(name),
            Err(failure) if force && failure.is_not_found() => {}
            Err(failure) => failures.push(failure),
        }
    }
    let shown = answer(
        output,
        || done.iter().map(|name| format!("{name}\n")).collect(),
        || done.clone().into(),
    );
    ended(output, shown, &failures)
}
