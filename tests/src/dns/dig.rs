//! dig, and what it tells.

use anyhow::{Context, Result, ensure};

use super::RESOLVER;
use crate::run::Scope;

/// A record as dig prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose, with the dot at the end.
    pub name: String,
    /// Seconds.
    pub ttl: u32,
    /// As `AAAA`.
    pub kind: String,
    /// The rest of the line.
    pub data: String,
}

/// An answer as dig prints it.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// As `NXDOMAIN`.
    pub status: String,
    /// As `qr rd ra`.
    pub flags: String,
    /// The name in the question, as it came back.
    pub question: String,
    /// The answer section.
    pub records: Vec<Record>,
    /// The authority section.
    pub authority: Vec<Record>,
    /// The whole output.
    pub text: String,
}

impl Answer {
    /// The data of the answer section's records of a type, sorted.
    pub fn data(&self, kind: &str) -> Vec<String> {
        let mut data: Vec<String> = self
            .records
            .iter()
            .filter(|record| record.kind == kind)
            .map(|record| record.data.clone())
            .collect();
        data.sort();
        data
    }

    /// Wants NOERROR and exactly these data of a type, in any order, with nothing beside them.
    ///
    /// # Errors
    /// When it is another answer; with dig's output.
    pub fn is<T: ToString>(&self, kind: &str, wanted: &[T]) -> Result<()> {
        let mut wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        wanted.sort();
        ensure!(
            self.status == "NOERROR" && self.data(kind) == wanted,
            "wanted {kind} {wanted:?}, got {}",
            self.text
        );
        ensure!(
            self.records.len() == wanted.len(),
            "more than {wanted:?}: {}",
            self.text
        );
        Ok(())
    }

    /// Wants this status and no record in the answer section.
    ///
    /// # Errors
    /// When it is another answer; with dig's output.
    pub fn is_empty(&self, status: &str) -> Result<()> {
        ensure!(
            self.status == status && self.records.is_empty(),
            "wanted {status} without records, got {}",
            self.text
        );
        Ok(())
    }

    /// Whether the asker is told any address.
    pub fn has_addresses(&self) -> bool {
        self.records
            .iter()
            .any(|record| record.kind == "A" || record.kind == "AAAA")
    }
}

/// Asks the resolver of a sandbox once, with 5 s for the answer; `words` as dig takes them: name, type, options.
///
/// # Errors
/// When nothing answers.
pub fn dig(scope: &Scope, words: &str) -> Result<Answer> {
    let server = format!("@{}", RESOLVER.ip());
    let mut all = vec!["dig", &server, "+tries=1", "+time=5"];
    all.extend(words.split_whitespace());
    let output = scope.run(&all)?;
    ensure!(output.ok, "dig {words}: {}", output.text());
    parse(&output.stdout).with_context(|| format!("dig {words}: {}", output.text()))
}

fn parse(text: &str) -> Result<Answer> {
    let mut answer = Answer {
        text: text.to_owned(),
        ..Answer::default()
    };
    let mut section = "";
    for line in text.lines() {
        if let Some(header) = line.strip_prefix(";; ->>HEADER<<-") {
            answer.status = after(header, "status: ").context("no status")?;
        } else if let Some(flags) = line.strip_prefix(";; flags:") {
            let flags = flags.split(';').next().unwrap_or_default();
            answer.flags = flags.trim().to_owned();
        } else if let Some(name) = line.strip_suffix(" SECTION:") {
            section = name.trim_start_matches([';', ' ']);
        } else if section == "QUESTION" && line.starts_with(';') && answer.question.is_empty() {
            let name = line.trim_start_matches(';').split_whitespace().next();
            answer.question = name.unwrap_or_default().to_owned();
        } else if !line.starts_with(';') && !line.is_empty() {
            let record = record(line).with_context(|| format!("the record {line:?}"))?;
            match section {
                "ANSWER" => answer.records.push(record),
                "AUTHORITY" => answer.authority.push(record),
                _ => {}
            }
        }
    }
    ensure!(!answer.status.is_empty(), "no answer");
    Ok(answer)
}

fn after(text: &str, mark: &str) -> Option<String> {
    let rest = text.split_once(mark)?.1;
    rest.split(',').next().map(|word| word.trim().to_owned())
}

/// `name ttl class type data`.
fn record(line: &str) -> Option<Record> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let ttl = words.next()?.parse().ok()?;
    let (_class, kind) = (words.next()?, words.next()?.to_owned());
    let data = words.collect::<Vec<_>>().join(" ");
    Some(Record {
        name,
        ttl,
        kind,
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_answer_of_dig() {
        let text = "
; <<>> DiG 9.18 <<>> @127.0.0.11 WEB
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1
;; flags: qr rd ra; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 1

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
;; QUESTION SECTION:
;WEB.\t\t\tIN\tA

;; ANSWER SECTION:
WEB.\t\t5\tIN\tA\t172.18.0.2

;; Query time: 0 msec
";
        let answer = parse(text).expect("an answer");
        assert_eq!(answer.flags, "qr rd ra");
        assert_eq!(answer.question, "WEB.");
        assert_eq!(answer.data("A"), ["172.18.0.2"]);
        assert!(answer.is("A", &["172.18.0.2"]).is_ok());
        assert!(answer.is("A", &["172.18.0.3"]).is_err());
    }
}
