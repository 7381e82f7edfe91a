//! `names`: resolve, ls.

use netd_proto::v1::{
    KnownName, ListNamesRequest, ResolveRequest, ResolveResponse, resolve_response::Outcome,
};
use serde_json::{Value, json};

use super::{answer, pages};
use crate::{
    cli::{Output, names::Command},
    client::Client,
    failure::Result,
    format::table::Table,
};

/// Runs a command.
///
/// # Errors
/// The daemon's refusal.
pub async fn run(client: &Client, command: Command, output: Output) -> Result<()> {
    match command {
        Command::Resolve {
            kind,
            sandbox,
            name,
        } => {
            let request = ResolveRequest {
                sandbox,
                name,
                r#type: kind,
            };
            let answered = client.names().resolve(request).await?.into_inner();
            answer(output, || resolved(&answered), || resolved_json(&answered))
        }
        Command::Ls { sandbox } => {
            let all = pages(|page_token| async {
                let request = ListNamesRequest {
                    sandbox: sandbox.clone(),
                    page_size: 0,
                    page_token,
                };
                let page = client.names().list_names(request).await?.into_inner();
                Ok((page.names, page.next_page_token))
            });
            let all = all.await?;
            answer(
                output,
                || list(&all),
                || Value::Array(all.iter().map(known).collect()),
            )
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::NoSuchName => "no such name",
        Outcome::Forwarded => "forwarded",
        Outcome::NotForwarded => "not forwarded",
        Outcome::Unspecified => "unknown",
    }
}

/// Records as in a zone file; else what becomes of the question.
fn resolved(answered: &ResolveResponse) -> String {
    let records = answered.records.iter();
    let records: String = records
        .map(|r| format!("{} {} IN {} {}\n", r.name, r.ttl, r.r#type, r.data))
        .collect();
    match answered.outcome() {
        Outcome::Answered if answered.records.is_empty() => {
            "The name is known and has no record of this type.\n".to_owned()
        }
        Outcome::Forwarded => format!("Not known here; asked: {}\n", answered.servers.join(", ")),
        Outcome::NoSuchName => "There is no such name.\n".to_owned(),
        Outcome::NotForwarded => "Not known here, and there is nobody to ask.\n".to_owned(),
        _ => records,
    }
}

fn resolved_json(answered: &ResolveResponse) -> Value {
    let records = answered
        .records
        .iter()
        .map(|r| json!({"Name": r.name, "Ttl": r.ttl, "Type": r.r#type, "Data": r.data}));
    json!({
        "Outcome": word(answered.outcome()),
        "Records": records.collect::<Vec<_>>(),
        "Servers": answered.servers,
    })
}

fn known(name: &KnownName) -> Value {
    json!({
        "Name": name.name,
        "Network": name.network_name,
        "NetworkId": name.network_id,
        "Addresses": name.addresses,
        "LinkTarget": name.link_target,
    })
}

fn list(names: &[KnownName]) -> String {
    let mut table = Table::new(&["NAME", "NETWORK", "ADDRESSES", "LINK TO"]);
    for name in names {
        table.row([
            name.name.clone(),
            name.network_name.clone(),
            name.addresses.join(","),
            name.link_target.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use netd_proto::v1::NameRecord;

    use super::*;

    #[test]
    fn s01_answers_as_text() {
        let record = NameRecord {
            name: "db.".into(),
            r#type: "A".into(),
            ttl: 600,
            data: "10.0.0.2".into(),
        };
        let text = |outcome: Outcome, records: Vec<NameRecord>| {
            resolved(&ResolveResponse {
                outcome: outcome.into(),
                records,
                servers: vec!["192.0.2.1".into()],
            })
        };
        assert_eq!(
            text(Outcome::Answered, vec![record]),
            "db. 600 IN A 10.0.0.2\n"
        );
        assert!(text(Outcome::Answered, vec![]).contains("no record"));
        assert!(text(Outcome::Forwarded, vec![]).contains("192.0.2.1"));
        assert!(text(Outcome::NoSuchName, vec![]).contains("no such name"));
        assert!(text(Outcome::NotForwarded, vec![]).contains("nobody to ask"));
    }
}
