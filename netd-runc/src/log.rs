//! The runtime's own log: the engine shows its user the last error that stands there.

use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use jiff::Timestamp;
use serde_json::json;

use crate::command_line::Invocation;

/// How much a line matters, in the runtime's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It went on.
    Warning,
    /// It did not.
    Error,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Says it on standard error and in the file that `--log` names. Where nobody reads either, the exit code says it alone.
pub fn say(call: &Invocation<'_>, level: Level, message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
    let Some(path) = call.global("log").filter(|path| !path.is_empty()) else {
        return;
    };
    let json = call.global("log-format").is_some_and(|form| form == "json");
    let text = line(level, message, Timestamp::now(), json);
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o644);
    if let Ok(mut file) = options.open(Path::new(path)) {
        // In one piece: the runtime may write at the same time.
        let _ = file.write_all(text.as_bytes());
    }
}

fn line(level: Level, message: &str, now: Timestamp, json: bool) -> String {
    let (level, now) = (level.word(), now.strftime("%Y-%m-%dT%H:%M:%SZ"));
    match json {
        true => {
            let line = json!({"level": level, "msg": message, "time": now.to_string()});
            format!("{line}\n")
        }
        false => format!("time=\"{now}\" level={level} msg={message:?}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p05_lines_are_as_the_runtime_writes_them() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(
            line(Level::Error, "a \"b\"\nc", now, true),
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\nc\",\"time\":\"2023-11-14T22:13:20Z\"}\n"
        );
        assert_eq!(
            line(Level::Warning, "a \"b\"", now, false),
            "time=\"2023-11-14T22:13:20Z\" level=warning msg=\"a \\\"b\\\"\"\n"
        );
    }
}
