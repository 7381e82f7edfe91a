//! Removing links. Each removal waits for an RCU grace period (about 16 ms on Linux 6.18) while it holds the lock of
//! all link operations; removals of one group share it. So links that are to go while others are going wait for each
//! other and go together.

use futures::StreamExt as _;
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec,
    packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkMessage},
    },
};
use tokio::sync::{mpsc, oneshot};

use super::{Netlink, rtnl};
use crate::error::{Error, Result};

/// Interface group of links that are to go ("netd" in ASCII). Nothing else is ever put into it.
const GROUP: u32 = 0x6e65_7464;

/// Most links that go at once: the kernel holds its lock for the whole of them.
const BATCH: usize = 128;

struct Job {
    ifindex: u32,
    done: oneshot::Sender<Result<()>>,
}

/// The task that removes links.
#[derive(Clone)]
pub struct Reaper(mpsc::UnboundedSender<Job>);

impl Reaper {
    /// Starts it. Must be called within a tokio runtime.
    pub fn start(netlink: Netlink) -> Self {
        let (sender, mut jobs) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(first) = jobs.recv().await {
                let _turn = rtnl::turn().await;
                // Those that came while it waited as well.
                let others = std::iter::from_fn(|| jobs.try_recv().ok());
                let batch = std::iter::once(first).chain(others).take(BATCH);
                reap(&netlink, batch.collect()).await;
            }
        });
        Self(sender)
    }

    /// Removes a link and its other end; one that is gone is fine.
    pub async fn remove(&self, ifindex: u32) -> Result<()> {
        let gone = || Error::internal(format!("removing interface {ifindex}"), "netd is stopping");
        let (done, removed) = oneshot::channel();
        self.0.send(Job { ifindex, done }).map_err(|_| gone())?;
        removed.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn reap(netlink: &Netlink, batch: Vec<Job>) {
    let mut grouped = Vec::new();
    if batch.len() > 1 {
        for job in &batch {
            let message = LinkMessageBuilder::<LinkUnspec>::new()
                .index(job.ifindex)
                .append_extra_attribute(LinkAttribute::Group(GROUP))
                .build();
            // One that cannot be put into the group is removed by itself, which says why.
            let put = netlink.handle.link().set(message).execute().await;
            grouped.push(put.is_ok());
        }
        if let Err(e) = remove_group(netlink).await {
            tracing::debug!("removing links by their group: {e}");
            grouped.clear();
        }
    }
    for (index, job) in batch.into_iter().enumerate() {
        let removed = if grouped.get(index) == Some(&true) {
            Ok(())
        } else {
            netlink.delete_link(job.ifindex).await
        };
        // Nobody waiting is fine.
        let _ = job.done.send(removed);
    }
}

/// RTM_DELLINK with IFLA_GROUP alone (Linux 4.0).
async fn remove_group(netlink: &Netlink) -> Result<()> {
    let fail = |e: &dyn std::fmt::Display| Error::internal("removing a group of interfaces", e);
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::Group(GROUP));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::DelLink(link));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut handle = netlink.handle.clone();
    let mut answers = handle.request(message).map_err(|e| fail(&e))?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(e) = answer.payload
            && e.code.is_some()
        {
            return Err(fail(&e));
        }
    }
    Ok(())
}
