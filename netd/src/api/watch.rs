//! The service of changes and events: what is there, then every commit behind it, none left out.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt as _, stream};
use netd_proto::v1::{
    self, ObjectType, event_service_server::EventService, object_change,
    object_change::Object as Message, watch_response::Kind,
};
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status, async_trait};

use super::{
    Answer, Api, bounds, convert,
    filter::Filter,
    subject::{self, Of},
};
use crate::{
    engine::{Change, Commit, Engine, Object, View},
    error::{Error, Result},
    observed::ObjectId,
};

/// Objects of one message of a snapshot.
const CHUNK: usize = 256;

/// What one watcher wants to hear of.
struct Wanted {
    filters: [Option<Filter>; 3],
    events: bool,
    objects: bool,
    /// Ids of the objects that the watcher knows of: one that matches no more is told as removed.
    shown: Mutex<BTreeSet<String>>,
}

impl Wanted {
    fn new(request: &v1::WatchRequest) -> Result<Self> {
        let unspecified = ObjectType::Unspecified;
        let types: BTreeSet<ObjectType> = request.types().filter(|t| *t != unspecified).collect();
        let text = &request.filter;
        // A filter is read as that of each type it may be of; it must be right for one that is wanted.
        let fields = [
            (ObjectType::Network, subject::NETWORK),
            (ObjectType::Sandbox, subject::SANDBOX),
            (ObjectType::Endpoint, subject::ENDPOINT),
        ];
        let wanted = |of: ObjectType| types.is_empty() || types.contains(&of);
        let (mut filters, mut failure, mut right) = ([None, None, None], None, false);
        for (slot, (of, fields)) in filters.iter_mut().zip(fields) {
            if !wanted(of) {
                continue;
            }
            match Filter::parse(text, fields) {
                Ok(filter) => (*slot, right) = (Some(filter), true),
                Err(e) => failure = Some(e),
            }
        }
        match failure {
            Some(e) if !right => return Err(e),
            _ => {}
        }
        Ok(Self {
            objects: !request.events || request.snapshot || !types.is_empty() || !text.is_empty(),
            filters,
            events: request.events,
            shown: Mutex::default(),
        })
    }

    fn takes(&self, view: &View, object: &Object) -> bool {
        let filter = |at: usize| self.filters.get(at).and_then(Option::as_ref);
        match object {
            Object::Network(n) => filter(0).is_some_and(|f| f.takes(&Of(view, &**n))),
            Object::Sandbox(s) => filter(1).is_some_and(|f| f.takes(&Of(view, &**s))),
            Object::Endpoint(e) => filter(2).is_some_and(|f| f.takes(&Of(view, &**e))),
        }
    }
}

fn message(view: &View, object: &Object) -> Message {
    match object {
        Object::Network(n) => Message::Network(convert::network(view, n, false)),
        Object::Sandbox(s) => Message::Sandbox(convert::sandbox(view, s)),
        Object::Endpoint(e) => Message::Endpoint(convert::endpoint(view, e)),
    }
}

fn named(object: &Object) -> (ObjectType, String) {
    match object {
        Object::Network(n) => (ObjectType::Network, n.id.clone()),
        Object::Sandbox(s) => (ObjectType::Sandbox, s.id.clone()),
        Object::Endpoint(e) => (ObjectType::Endpoint, e.id.clone()),
    }
}

fn told(kind: object_change::Kind, object: &Object, view: Option<&View>) -> v1::ObjectChange {
    let (of, id) = named(object);
    v1::ObjectChange {
        kind: kind.into(),
        r#type: of.into(),
        id,
        object: view.map(|view| message(view, object)),
    }
}

impl Wanted {
    /// What the watcher knows before he is told anything: what is there, as it was before the commits that he missed.
    fn begin(&self, view: &View, missed: &[Arc<Commit>]) {
        let mut shown: BTreeSet<String> = everything(view)
            .filter(|object| self.takes(view, object))
            .map(|object| named(&object).1)
            .collect();
        for change in missed.iter().flat_map(|commit| &commit.changes) {
            match (&change.before, &change.after) {
                (None, Some(made)) => drop(shown.remove(&named(made).1)),
                (Some(gone), None) => drop(shown.insert(named(gone).1)),
                _ => {}
            }
        }
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// An object as it is after a commit, or was before it went; `None`: the watcher does not see it.
    fn see(&self, view: &View, object: &Object, there: bool) -> Option<v1::ObjectChange> {
        use object_change::Kind::{Created, Removed, Updated};
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let id = named(object).1;
        let taken = there && self.takes(view, object);
        match (shown.contains(&id), taken) {
            (false, false) => None,
            (false, true) => {
                shown.insert(id);
                Some(told(Created, object, Some(view)))
            }
            (true, true) => Some(told(Updated, object, Some(view))),
            (true, false) => {
                shown.remove(&id);
                Some(told(Removed, object, None))
            }
        }
    }
}

fn everything(view: &View) -> impl Iterator<Item = Object> {
    let networks = view.networks().values().cloned().map(Object::Network);
    let sandboxes = view.sandboxes().values().cloned().map(Object::Sandbox);
    let endpoints = view.endpoints().values().cloned().map(Object::Endpoint);
    networks.chain(sandboxes).chain(endpoints)
}

/// A change as a watcher sees it; `None`: it does not.
fn seen(view: &View, wanted: &Wanted, change: &Change) -> Option<v1::ObjectChange> {
    wanted.see(view, change.object()?, change.after.is_some())
}

/// Objects of which something changed that is not desired.
fn observed(view: &View, wanted: &Wanted, object: &ObjectId) -> Option<v1::ObjectChange> {
    let found = match object {
        ObjectId::Network(id) => Object::Network(Arc::clone(view.networks().get(id)?)),
        ObjectId::Sandbox(id) => Object::Sandbox(Arc::clone(view.sandboxes().get(id)?)),
        ObjectId::Endpoint(id) => Object::Endpoint(Arc::clone(view.endpoints().get(id)?)),
        ObjectId::Record(_) => return None,
    };
    wanted.see(view, &found, true)
}

/// A commit as a watcher is told of it; `None`: nothing of it concerns him.
fn commit(engine: &Engine, wanted: &Wanted, commit: &Commit) -> Option<v1::WatchResponse> {
    let view = engine.view();
    let mut changes: Vec<v1::ObjectChange> = Vec::new();
    if wanted.objects {
        changes.extend(commit.changes.iter().filter_map(|c| seen(&view, wanted, c)));
        let others = commit.observed.iter();
        changes.extend(others.filter_map(|object| observed(&view, wanted, object)));
    }
    let time = Some(commit.time.into());
    let event = |e: &crate::engine::Event| v1::Event {
        time,
        r#type: e.kind.to_owned(),
        action: e.action.to_owned(),
        id: e.id.clone(),
        attributes: e
            .attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), String::from(&**value)))
            .collect(),
    };
    let events: Vec<v1::Event> = match wanted.events {
        true => commit.events.iter().map(event).collect(),
        false => Vec::new(),
    };
    if changes.is_empty() && events.is_empty() {
        return None;
    }
    Some(v1::WatchResponse {
        kind: Kind::Commit.into(),
        revision: commit.revision,
        time,
        changes,
        events,
    })
}

/// Everything that is there, in pieces, then that it was all.
fn snapshot(view: &View, wanted: &Wanted, revision: u64) -> Vec<v1::WatchResponse> {
    let present = object_change::Kind::Present;
    let changes: Vec<v1::ObjectChange> = everything(view)
        .filter(|object| wanted.takes(view, object))
        .map(|object| told(present, &object, Some(view)))
        .collect();
    let piece = |changes: &[v1::ObjectChange]| v1::WatchResponse {
        kind: Kind::Snapshot.into(),
        revision,
        changes: changes.to_vec(),
        ..v1::WatchResponse::default()
    };
    let synced = v1::WatchResponse {
        kind: Kind::Synced.into(),
        revision,
        ..v1::WatchResponse::default()
    };
    let pieces = changes.chunks(CHUNK).map(piece);
    pieces.chain([synced]).collect()
}

#[async_trait]
impl EventService for Api {
    type WatchStream =
        Pin<Box<dyn Stream<Item = std::result::Result<v1::WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let request = bounds::open(request)?;
        if request.snapshot && request.from_revision.is_some() {
            let text = "a snapshot has a revision of its own";
            return Err(Error::invalid(text)
                .about("field", "from_revision")
                .hint("leave one of the two out")
                .into());
        }
        let wanted = Arc::new(Wanted::new(&request)?);
        let engine = Arc::clone(&self.engine);
        let watch = engine.watch(request.from_revision)?;
        let mut first = Vec::new();
        let view = engine.view_of(&watch);
        wanted.begin(&view, &watch.missed);
        if request.snapshot {
            first = snapshot(&view, &wanted, watch.revision);
        }
        let missed = watch.missed.iter();
        first.extend(missed.filter_map(|missed| commit(&engine, &wanted, missed)));
        let later = BroadcastStream::new(watch.commits).filter_map(move |next| {
            let told = match next {
                Ok(next) => commit(&engine, &wanted, &next).map(Ok),
                Err(lag) => Some(Err(Status::data_loss(format!(
                    "changes were lost: {lag}; go on from the revision that was read last"
                )))),
            };
            std::future::ready(told)
        });
        let all = stream::iter(first.into_iter().map(Ok)).chain(later);
        Ok(Response::new(Box::pin(all)))
    }
}
