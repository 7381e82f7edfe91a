//! Fair shares of something that is bounded: nobody takes more than an eighth of what is free, and a quarter is left to
//! those that have next to nothing, so that there is something for another one however many are greedy. Who has least
//! comes first.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

/// Turns that a client may have of the last quarter, too: a resolver asks for both families at once.
const FEW_TURNS: usize = 2;

/// Cost that a client's waiting may have of the last quarter, too.
const FEW_COSTS: usize = 16 << 10;

/// Whether a client that has so much may have so much more. `few`: as much as of the last quarter, too.
fn fits(all: usize, free: usize, has: usize, more: usize, few: usize) -> bool {
    let share = (free.saturating_sub(all / 4) / 8).max(few);
    more <= free && has + more <= share
}

/// Names a client; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(u64);

impl Client {
    /// One that nobody else is.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Turns of all together.
    pub all: usize,
    /// Turns of one client.
    pub each: usize,
    /// What all that wait may cost together.
    pub waiting: usize,
}

/// Turns, at most so many at a time.
#[derive(Debug)]
pub struct Fair {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Turns that are taken.
    taken: usize,
    /// What waits costs together.
    cost: usize,
    /// The next one that waits.
    next: u64,
    clients: HashMap<Client, Account>,
    /// Clients that wait, by what they have, then by who has waited longest.
    order: BTreeSet<(usize, u64, Client)>,
}

#[derive(Debug, Default)]
struct Account {
    taken: usize,
    cost: usize,
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    cost: usize,
    turn: oneshot::Sender<Turn>,
}

impl Account {
    /// Where it stands among those that wait.
    fn place(&self, client: Client) -> Option<(usize, u64, Client)> {
        let (first, _) = self.waiting.first_key_value()?;
        Some((self.taken, *first, client))
    }
}

impl State {
    /// Changes an account; its place follows.
    fn change<R>(&mut self, client: Client, change: impl FnOnce(&mut Account) -> R) -> R {
        let account = self.clients.entry(client).or_default();
        if let Some(place) = account.place(client) {
            self.order.remove(&place);
        }
        let result = change(account);
        self.order.extend(account.place(client));
        if account.taken == 0 && account.waiting.is_empty() {
            self.clients.remove(&client);
        }
        result
    }

    /// Whether a client that has so many turns may have another.
    fn may(&self, limits: &Limits, has: usize) -> bool {
        let free = limits.all.saturating_sub(self.taken);
        has < limits.each && fits(limits.all, free, has, 1, FEW_TURNS)
    }

    fn take(&mut self, client: Client) {
        self.taken += 1;
        self.change(client, |account| account.taken += 1);
    }

    /// Waits no more.
    fn leave(&mut self, client: Client, number: u64) -> Option<Waiting> {
        let waiting = self.change(client, |account| {
            let waiting = account.waiting.remove(&number)?;
            account.cost -= waiting.cost;
            Some(waiting)
        })?;
        self.cost -= waiting.cost;
        Some(waiting)
    }
}

/// A turn; given back when it is dropped.
#[derive(Debug)]
pub struct Turn {
    fair: Arc<Fair>,
    client: Client,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let unwanted = {
            let mut state = self.fair.state();
            state.taken -= 1;
            state.change(self.client, |account| account.taken -= 1);
            self.fair.dispatch(&mut state)
        };
        // Each takes the lock anew.
        drop(unwanted);
    }
}

/// One that waits, until it is dropped.
struct Place<'a> {
    fair: &'a Fair,
    client: Client,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        drop(self.fair.state().leave(self.client, self.number));
    }
}

impl Fair {
    /// Nobody has a turn yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::default(),
        })
    }

    /// Waits for a turn, at this cost. `None`: too much waits already. Who drops the future waits no more.
    pub async fn turn(self: &Arc<Self>, client: Client, cost: usize) -> Option<Turn> {
        let (given, number) = {
            let mut state = self.state();
            let account = state.clients.get(&client);
            let (has, waits) = account.map_or((0, 0), |a| (a.taken, a.cost));
            let first = account.is_none_or(|a| a.waiting.is_empty());
            if first && state.may(&self.limits, has) {
                state.take(client);
                return Some(self.made(client));
            }
            let free = self.limits.waiting.saturating_sub(state.cost);
            if !fits(self.limits.waiting, free, waits, cost, FEW_COSTS) {
                return None;
            }
            let (turn, given) = oneshot::channel();
            let number = state.next;
            state.next += 1;
            state.cost += cost;
            state.change(client, |account| {
                account.cost += cost;
                account.waiting.insert(number, Waiting { cost, turn });
            });
            (given, number)
        };
        let _place = Place {
            fair: self,
            client,
            number,
        };
        given.await.ok()
    }

    fn made(self: &Arc<Self>, client: Client) -> Turn {
        Turn {
            fair: Arc::clone(self),
            client,
        }
    }

    /// Gives turns to those that wait, as long as there are any. Returns those that nobody wanted.
    fn dispatch(self: &Arc<Self>, state: &mut State) -> Vec<Turn> {
        let mut unwanted = Vec::new();
        while let Some(&(has, first, client)) = state.order.first() {
            if !state.may(&self.limits, has) {
                break;
            }
            let Some(waiting) = state.leave(client, first) else {
                break;
            };
            state.take(client);
            unwanted.extend(waiting.turn.send(self.made(client)).err());
        }
        unwanted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Sums are changed together with what they are of, and nothing between can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn fair(all: usize, each: usize, waiting: usize) -> Arc<Fair> {
        Fair::new(Limits { all, each, waiting })
    }

    /// What a client gets at once.
    fn take(fair: &Arc<Fair>, client: Client, most: usize) -> Vec<Turn> {
        let one = || fair.turn(client, 1).now_or_never().flatten();
        std::iter::from_fn(one).take(most).collect()
    }

    fn is_empty(fair: &Fair) -> bool {
        let state = fair.state();
        state.taken == 0 && state.cost == 0 && state.clients.is_empty() && state.order.is_empty()
    }

    #[test]
    fn b09_the_greedy_leave_something_for_others() {
        let fair = fair(4096, 256, 0);
        // Of these, sixteen could have taken all.
        let greedy: Vec<_> = (0..200).map(|_| take(&fair, Client::new(), 4096)).collect();
        assert_eq!(greedy[0].len(), 256, "all that one may have");
        assert!(greedy.iter().all(|turns| turns.len() >= FEW_TURNS));
        let modest = take(&fair, Client::new(), 20);
        assert!(modest.len() >= FEW_TURNS);
        drop((greedy, modest));
        assert!(is_empty(&fair));
    }

    #[test]
    fn b09_who_has_least_comes_first() {
        let fair = fair(2, 2, 1 << 20);
        let (greedy, modest, third) = (Client::new(), Client::new(), Client::new());
        let first = take(&fair, greedy, 1);
        let second = take(&fair, modest, 1);
        let mut again = Box::pin(fair.turn(greedy, 1));
        let mut waits = Box::pin(fair.turn(third, 1));
        assert!((&mut again).now_or_never().is_none() && (&mut waits).now_or_never().is_none());
        // The greedy one has waited longer, but has one.
        drop(second);
        let third = (&mut waits).now_or_never().flatten();
        assert!(third.is_some() && (&mut again).now_or_never().is_none());
        drop(third);
        assert!((&mut again).now_or_never().flatten().is_some());
        drop((first, again, waits));
        assert!(is_empty(&fair));
    }

    #[test]
    fn b09_what_waits_is_bounded_and_shared() {
        let fair = fair(1, 1, 1 << 20);
        let _all = take(&fair, Client::new(), 1);
        let wait = |client, cost| {
            let mut turn = Box::pin(fair.turn(client, cost));
            (&mut turn).now_or_never().is_none().then_some(turn)
        };
        let fill = |client| std::iter::from_fn(|| wait(client, 1024)).collect::<Vec<_>>();
        let greedy: Vec<_> = (0..20).map(|_| fill(Client::new())).collect();
        let most = greedy.iter().map(Vec::len).max().unwrap();
        assert!((64..=96).contains(&most), "{most}");
        assert!(fill(Client::new()).len() >= 16, "nothing is left");
        drop(greedy);
        assert!(!fill(Client::new()).is_empty());
    }

    #[test]
    fn b09_a_turn_given_to_nobody_goes_on() {
        let fair = fair(1, 1, 1 << 20);
        let held = take(&fair, Client::new(), 1);
        let mut gone = Box::pin(fair.turn(Client::new(), 1));
        let mut next = Box::pin(fair.turn(Client::new(), 1));
        assert!((&mut gone).now_or_never().is_none() && (&mut next).now_or_never().is_none());
        // Given, and dropped without being looked at.
        drop(held);
        drop(gone);
        assert!((&mut next).now_or_never().flatten().is_some());
        drop(next);
        assert!(is_empty(&fair));
    }
}
