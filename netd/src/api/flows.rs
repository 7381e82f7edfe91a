//! The service of flows.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnetwork::IpNetwork;
use netd_proto::v1::{self, flow_change::Kind as Change, flow_service_server::FlowService};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, async_trait};

use super::{
    Answer, Api, bounds,
    convert::Clock,
    flow_message::{change, ends, flow},
    flow_watch::Known,
    holders::Holders,
};
use crate::{
    dataplane::{Dataplane, FlowFilter, Place},
    engine::Engine,
    error::{Error, Kind, Result},
};

type Message = std::result::Result<v1::FlowChange, Status>;

/// Flows on a page that does not say how many.
const PAGE: usize = 1_000;
/// Flows on the largest page.
const LARGEST_PAGE: usize = 4_000;
/// Clients that may watch at a time.
const WATCHERS: usize = 8;
/// Walks through the flow table at a time: each keeps a processor busy.
const WALKS: usize = 2;
/// Changes that wait for a client.
const WAITING: usize = 1_024;
/// Flows ended in one go.
const ENDED: usize = 16_384;
/// A walk is followed by a pause of so many times its length.
const REST: u32 = 10;

/// What clients may take at a time.
#[derive(Clone)]
pub struct Limits {
    watchers: Arc<Semaphore>,
    walks: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            walks: Arc::new(Semaphore::new(WALKS)),
        }
    }
}

/// Which flows a client means; what it named is known by id, so that it stays the same.
#[derive(Clone)]
struct Wanted {
    sandbox: Option<String>,
    network: Option<String>,
    rest: FlowFilter,
}

impl Wanted {
    fn new(engine: &Engine, filter: Option<v1::FlowFilter>) -> Result<Self> {
        let filter = filter.unwrap_or_default();
        let model = engine.view();
        let id = |text: &str, find: &dyn Fn(&str) -> Result<String>| match text {
            "" => Ok(None),
            text => find(text).map(Some),
        };
        Ok(Self {
            sandbox: id(&filter.sandbox, &|t| Ok(model.sandbox(t)?.id.clone()))?,
            network: id(&filter.network, &|t| Ok(model.network(t)?.id.clone()))?,
            rest: FlowFilter {
                ends: Vec::new(),
                protocol: number(filter.protocol, "protocol")?,
                published: filter.published,
                net: net(&filter.address)?,
                port: number(filter.port, "port")?,
            },
        })
    }

    fn is_nothing(&self) -> bool {
        self.sandbox.is_none() && self.network.is_none() && self.rest == FlowFilter::default()
    }

    /// With the numbers that the endpoints have now.
    fn filter(&self, engine: &Engine) -> FlowFilter {
        let mut filter = self.rest.clone();
        let model = engine.view();
        if let Some(id) = &self.sandbox {
            let numbers = model.endpoints_of(id).map(|e| e.number);
            filter.ends.push(numbers.collect());
        }
        if let Some(id) = &self.network {
            let numbers = model.endpoints_on(id).map(|e| e.number);
            filter.ends.push(numbers.collect());
        }
        filter
    }
}

fn number<T: TryFrom<u32>>(number: u32, what: &str) -> Result<Option<T>> {
    if number == 0 {
        return Ok(None);
    }
    let most = (1_u64 << (8 * size_of::<T>())) - 1;
    let fits = T::try_from(number).map(Some);
    fits.map_err(|_| {
        Error::invalid(format!("invalid {what} {number} of a flow")).hint(format!("1 to {most}"))
    })
}

fn net(text: &str) -> Result<Option<IpNetwork>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Error::invalid(format!("invalid address {text:?} of a flow"))
            .hint("an IPv4 or IPv6 address, or a CIDR")
    })
}

impl Api {
    /// Does what walks through the flow table, where it holds up nobody else.
    async fn walk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let engine = Arc::clone(&self.engine);
        let turn = Arc::clone(&self.flows.walks).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&engine)
        });
        done.await
            .unwrap_or_else(|e| Err(Error::internal("reading the flow table", e)))
    }

    /// Looks again and again, until the client goes.
    async fn watch(self, wanted: Wanted, interval: Duration, to: mpsc::Sender<Message>) {
        let mut known = Known::default();
        let mut names = Holders::default();
        let mut first = true;
        loop {
            let began = Instant::now();
            let wanted = wanted.clone();
            let look = move |engine: &Engine| {
                let mut changes = known.begin();
                let dataplane = &engine.dataplane;
                let filter = wanted.filter(engine);
                let settings = dataplane.settings();
                dataplane
                    .flow_reader()
                    .each(&settings, &filter, |row| known.see(row, &mut changes))?;
                known.end(&mut changes);
                Ok((known, changes))
            };
            let changes;
            (known, changes) = match self.walk(look).await {
                Ok(found) => found,
                Err(e) => {
                    // The client may be gone, too.
                    let _ = to.send(Err(e.into())).await;
                    return;
                }
            };
            let took = began.elapsed();
            let clock = Clock::now();
            names.learn(&self.engine, changes.all.iter().flat_map(|(_, r)| ends(r)));
            let mut lost = changes.left_out;
            for (kind, row) in changes.all {
                let told = if first { Change::Present } else { kind };
                let message = change(told, Some(flow(&row, &names, clock)), clock);
                let sent = if first {
                    to.send(Ok(message)).await.is_ok()
                } else {
                    to.try_send(Ok(message)).is_ok()
                };
                if sent {
                    known.told(kind, row);
                } else {
                    lost += 1;
                }
            }
            let mut last = Vec::new();
            if first {
                last.push(change(Change::Synced, None, clock));
            }
            if lost > 0 {
                let message = change(Change::Lost, None, clock);
                last.push(v1::FlowChange { lost, ..message });
            }
            for message in last {
                if to.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            first = false;
            let pause = interval.max(took * REST);
            if tokio::time::timeout(pause, to.closed()).await.is_ok() {
                return;
            }
        }
    }
}

#[async_trait]
impl FlowService for Api {
    async fn list_flows(
        &self,
        request: Request<v1::ListFlowsRequest>,
    ) -> Answer<v1::ListFlowsResponse> {
        let request = bounds::open(request)?;
        let wanted = Wanted::new(&self.engine, request.filter)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(Place::parse(token).ok_or_else(|| {
                Error::invalid(format!("invalid page token {token:?}"))
                    .hint("next_page_token of the page before")
            })?),
        };
        let most = match request.page_size as usize {
            0 => PAGE,
            size => size.min(LARGEST_PAGE),
        };
        let page = move |engine: &Engine| {
            let dataplane = &engine.dataplane;
            let filter = wanted.filter(engine);
            let (rows, next) =
                dataplane
                    .flow_reader()
                    .page(&dataplane.settings(), &filter, after, most)?;
            let names = Holders::these(engine, rows.iter().flat_map(ends));
            let clock = Clock::now();
            Ok(v1::ListFlowsResponse {
                flows: rows.iter().map(|row| flow(row, &names, clock)).collect(),
                next_page_token: next.map(|place| place.token()).unwrap_or_default(),
            })
        };
        Ok(Response::new(self.walk(page).await?))
    }

    type WatchFlowsStream = Pin<Box<dyn Stream<Item = Message> + Send>>;

    async fn watch_flows(
        &self,
        request: Request<v1::WatchFlowsRequest>,
    ) -> Answer<Self::WatchFlowsStream> {
        let request = bounds::open(request)?;
        let wanted = Wanted::new(&self.engine, request.filter)?;
        let interval = interval(request.interval)?;
        let place = Arc::clone(&self.flows.watchers).try_acquire_owned();
        let place = place.map_err(|_| {
            let text = format!("{WATCHERS} clients watch flows, as many as may");
            Error::new(Kind::Exhausted, text).hint("end one of them, or list flows")
        })?;
        let (to, from) = mpsc::channel(WAITING);
        let api = self.clone();
        tokio::spawn(async move {
            api.watch(wanted, interval, to).await;
            drop(place);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(from))))
    }

    async fn delete_flows(
        &self,
        request: Request<v1::DeleteFlowsRequest>,
    ) -> Answer<v1::DeleteFlowsResponse> {
        let request = bounds::open(request)?;
        let wanted = Wanted::new(&self.engine, request.filter)?;
        if wanted.is_nothing() != request.all {
            return Err(Error::invalid("which flows are to end?")
                .hint("either a filter, or all of them")
                .into());
        }
        let count = self
            .walk(move |engine| end(&engine.dataplane, &wanted.filter(engine)))
            .await?;
        tracing::info!("ended {count} flows on request");
        Ok(Response::new(v1::DeleteFlowsResponse { count }))
    }
}

/// Ends the flows that are there now; those that begin meanwhile are others.
fn end(dataplane: &Dataplane, filter: &FlowFilter) -> Result<u64> {
    let until = crate::dataplane::monotonic();
    let mut count = 0;
    loop {
        let places = dataplane.flow_reader().places(filter, until, ENDED)?;
        let ended = dataplane.end_flows(&places)?;
        count += ended;
        if ended == 0 || places.len() < ENDED {
            return Ok(count);
        }
    }
}

fn interval(asked: Option<prost_types::Duration>) -> Result<Duration> {
    let Some(asked) = asked else {
        return Ok(Duration::from_secs(1));
    };
    let interval = Duration::try_from(asked).ok();
    let bounds = Duration::from_millis(100)..=Duration::from_secs(60);
    interval.filter(|i| bounds.contains(i)).ok_or_else(|| {
        Error::invalid(format!("invalid interval {asked} to watch flows")).hint("0.1 s to 60 s")
    })
}
