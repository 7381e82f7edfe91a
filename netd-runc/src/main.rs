//! The command line of netd-runc.

use std::process::ExitCode;

use clap::Parser as _;
use netd_runc::{
    command_line::{CommandLine, Invocation, Verb},
    create::{Next, create},
    delete::delete,
    failure::Result,
    hook::hook,
    log::{Level, say},
    process::Runtime,
    start,
};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let call = Invocation::of(&line.words);
    match run(&line, &call) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            say(&call, Level::Error, &failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(line: &CommandLine, call: &Invocation<'_>) -> Result<u8> {
    if call.verb == Verb::Hook {
        return hook(line, call, std::io::stdin().lock()).map(|()| 0);
    }
    let runtime = Runtime::find(&line.runtime)?;
    let next = match call.verb {
        Verb::Create | Verb::Restore | Verb::Run => create(line, call, &runtime)?,
        Verb::Delete => delete(line, call, &runtime)?,
        Verb::Start => {
            start::check(line, call)?;
            Next::BecomeRuntime
        }
        Verb::Hook | Verb::Other => Next::BecomeRuntime,
    };
    match next {
        Next::BecomeRuntime => Err(runtime.become_it(&line.words)),
        Next::Exit(code) => Ok(code),
    }
}
