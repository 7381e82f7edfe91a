//! Listing everything.

use futures::StreamExt as _;
use nix::libc;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{RouteNetlinkMessage, address::AddressMessage, link::LinkMessage},
};

use super::{routes::Routes, state::Tracker};
use crate::error::{Error, Result};

/// How often a listing is begun anew that changed while it was made.
const TRIES: u32 = 20;

/// Takes a table in, again from the beginning if it changed meanwhile.
async fn list(
    handle: &Handle,
    what: &str,
    question: RouteNetlinkMessage,
    tracker: &mut Tracker,
) -> Result<()> {
    let fail = |e: &dyn std::fmt::Display| Error::internal(format!("listing {what}"), e);
    let mut tries = 0;
    'again: loop {
        tries += 1;
        let mut message = NetlinkMessage::from(question.clone());
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut answers = handle.clone().request(message).map_err(|e| fail(&e))?;
        let mut listed = tracker.clone();
        let mut torn = false;
        while let Some(answer) = answers.next().await {
            torn |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => listed.apply(&message, true, false),
                NetlinkPayload::Error(e) if e.code.is_some() => {
                    let busy = e.raw_code() == -libc::EBUSY;
                    if busy && tries < TRIES {
                        continue 'again;
                    }
                    return Err(fail(&e));
                }
                _ => {}
            }
        }
        if torn && tries < TRIES {
            continue;
        }
        *tracker = listed;
        return Ok(());
    }
}

/// Reads everything. `routes`: which are minded; `None`: all.
pub(super) async fn read(handle: &Handle, routes: Option<&Routes>) -> Result<Tracker> {
    let mut tracker = Tracker::minding(routes.map_or_else(|| Routes::new(None), Routes::emptied));
    let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut questions = vec![("links", links), ("addresses", addresses)];
    for query in [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ] {
        questions.push(("routes", RouteNetlinkMessage::GetRoute(query)));
    }
    for (what, question) in questions {
        list(handle, what, question, &mut tracker).await?;
    }
    Ok(tracker)
}
