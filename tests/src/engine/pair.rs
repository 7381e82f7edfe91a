//! The same commands against netd's socket and against an engine by itself, and what they answer side by side.

use std::{fmt::Write as _, thread};

use anyhow::{Context, Result, ensure};

use super::Cli;
use crate::run::Output;

/// Two sets of clients, and what was not the same.
#[derive(Debug)]
pub struct Pair<'a> {
    ours: &'a Cli,
    plain: &'a Cli,
    differences: Vec<String>,
}

impl<'a> Pair<'a> {
    /// Of clients of netd's socket, and of the engine that is compared with.
    pub fn new(ours: &'a Cli, plain: &'a Cli) -> Self {
        let differences = Vec::new();
        Self {
            ours,
            plain,
            differences,
        }
    }

    /// Runs a line of a shell on both sides at once.
    ///
    /// # Errors
    /// When a side cannot be run.
    pub fn both(&self, line: &str) -> Result<[Output; 2]> {
        thread::scope(|scope| {
            let plain = scope.spawn(|| self.plain.shell(line));
            let ours = self.ours.shell(line)?;
            let plain = plain.join().ok().context("the other side")??;
            Ok([ours, plain])
        })
    }

    /// Runs each line on both sides and notes where exit code, output or messages differ, ids, addresses that were chosen,
    /// times and the like aside. Empty lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// When a side cannot be run.
    pub fn same(&mut self, lines: &str) -> Result<()> {
        for line in lines.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let [ours, plain] = self.both(line)?;
            let told = |o: &Output| (o.code, masked(&o.stdout), masked(&o.stderr));
            if told(&ours) != told(&plain) {
                let mut text = format!("$ {line}\n");
                for (who, output) in [("engine", &plain), ("ours", &ours)] {
                    let (code, stdout, stderr) = told(output);
                    let code = code.map_or_else(|| "a signal".into(), |code| code.to_string());
                    let _ = writeln!(text, "--- {who}: {code}\n{stdout}{stderr}");
                }
                self.differences.push(text);
            }
        }
        Ok(())
    }

    /// Runs each line on both sides; it must succeed.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn done(&self, lines: &str) -> Result<()> {
        for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
            for (who, output) in ["ours", "the engine"].iter().zip(self.both(line)?) {
                ensure!(output.ok, "{who}: {line}: {}", output.text());
            }
        }
        Ok(())
    }

    /// All differences that were noted are an error.
    ///
    /// # Errors
    /// The differences.
    pub fn judged(self) -> Result<()> {
        let all = self.differences;
        ensure!(all.is_empty(), "{} differ:\n{}", all.len(), all.join("\n"));
        Ok(())
    }
}

/// A text without what is another at each run: ids, Ethernet addresses, times, ports and addresses that were chosen.
fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        out.push_str(&mask(word));
        word.clear();
    };
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() || matches!(letter, ':' | '.' | '-' | '/') {
            word.push(letter);
        } else {
            flush(&mut word, &mut out);
            // How wide a column is depends on what is in it.
            if letter != ' ' || !out.ends_with(' ') {
                out.push(letter);
            }
        }
    }
    flush(&mut word, &mut out);
    out
}

fn mask(word: &str) -> String {
    let time = |w: &str| w.len() > 18 && w.get(4..5) == Some("-") && w.get(10..11) == Some("T");
    if time(word) {
        return "TIME".into();
    }
    let pieces = word.split(['/', '-']);
    if pieces.clone().count() > 1 {
        let split: Vec<&str> = word.split_inclusive(['/', '-']).collect();
        return split
            .iter()
            .map(|piece| {
                let bare = piece.trim_end_matches(['/', '-']);
                mask(bare) + piece.get(bare.len()..).unwrap_or_default()
            })
            .collect();
    }
    let trimmed = word.trim_end_matches([':', '.']);
    let rest = word.get(trimmed.len()..).unwrap_or_default();
    let parts: Vec<&str> = trimmed.split(':').collect();
    let hex = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    if parts.len() == 6 && parts.iter().all(hex) {
        return format!("MAC{rest}");
    }
    let shown: Vec<String> = parts.iter().map(|part| piece(part)).collect();
    shown.join(":") + rest
}

/// A part of a word between colons.
fn piece(part: &str) -> String {
    let hex =
        part.bytes().all(|b| b.is_ascii_hexdigit()) && part.bytes().any(|b| b.is_ascii_digit());
    if hex && matches!(part.len(), 12 | 64) {
        return format!("ID{}", part.len());
    }
    // Of the pools that engines choose from.
    if part.split('.').count() == 4 && part.starts_with("172.") {
        return "CHOSEN".into();
    }
    match part.parse::<u32>() {
        Ok(port) if (32_768..=60_999).contains(&port) => "PORT".into(),
        _ => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn what_is_another_each_time_is_masked() {
        let id = "0123456789ab".repeat(6)[..64].to_owned();
        for (text, wanted) in [
            (format!("{id}\n"), "ID64\n"),
            (
                format!("(name:\"c\" id:\"{}\")", &id[..12]),
                "(name:\"c\" id:\"ID12\")",
            ),
            ("a   b".into(), "a b"),
            ("02:42:ac:11:00:03".into(), "MAC"),
            (
                "172.17.0.3/16 10.60.0.3/24".into(),
                "CHOSEN/16 10.60.0.3/24",
            ),
            (
                "0.0.0.0:32770->80/tcp, 127.0.0.1:8080".into(),
                "0.0.0.0:PORT->80/tcp, 127.0.0.1:8080",
            ),
            ("2026-11-22T14:12:38.3Z".into(), "TIME"),
        ] {
            assert_eq!(masked(&text), wanted, "{text}");
        }
    }
}
