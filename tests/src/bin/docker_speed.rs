//! What Docker's requests cost through netd's socket, beside the same engine by itself, in one run and in turns: networks,
//! connections, containers with a published port, and what only passes through.
//!
//! Prints figures; it judges nothing.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use netd_tests::engine::{Api, Suite, front::Front};
use serde_json::{Value, json};

/// What Docker's requests cost through netd's socket, beside the engine by itself.
#[derive(Debug, Parser)]
#[command(name = "docker_speed")]
struct Words {
    /// Rounds of each kind, one after the other.
    #[arg(default_value_t = 20)]
    rounds: usize,
    /// Requests that are in flight at once.
    #[arg(default_value_t = 64)]
    parallel: usize,
}

/// Who is asked, and how its containers are made.
#[derive(Clone)]
struct Side {
    name: &'static str,
    api: Api,
    /// `HostConfig.NetworkMode`.
    mode: &'static str,
}

/// Milliseconds of one kind of request at one side.
#[derive(Default)]
struct Figures(Vec<f64>);

impl Figures {
    fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1000.0);
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() as f64 * share) as usize;
        let last = sorted.len().saturating_sub(1);
        sorted.get(at.min(last)).copied().unwrap_or_default()
    }
}

/// Kinds of requests that follow each other on a container or network.
struct Row {
    what: String,
    sides: Vec<(&'static str, Figures)>,
}

impl Row {
    fn new(what: &str, sides: &[Side]) -> Self {
        let sides = sides.iter().map(|side| (side.name, Figures::default()));
        Self {
            what: what.to_owned(),
            sides: sides.collect(),
        }
    }

    fn print(&self) {
        let first = self.sides.first().map_or(0.0, |(_, f)| f.quantile(0.5));
        for (name, figures) in &self.sides {
            let p50 = figures.quantile(0.5);
            let ratio = if p50 > 0.0 { first / p50 } else { 0.0 };
            println!(
                "{:34} {name:16} n {:5}  p50 {p50:9.2} ms  p99 {:9.2} ms  engine/this {ratio:6.2}",
                self.what,
                figures.0.len(),
                figures.quantile(0.99),
            );
        }
    }
}

fn main() -> Result<()> {
    let words = Words::parse();
    let mut front = Front::start(Suite::Sid)?;
    let plain = front.plain()?.api();
    println!(
        "Engine {}; `engine` is the engine by itself on its own bridge, `none` the same with --network none",
        front.engine()?.version()
    );
    let side = |name, api: &Api, mode| Side {
        name,
        api: api.clone(),
        mode,
    };
    let ours = front.api();
    let sides = [
        side("engine", &plain, "bridge"),
        side("engine, none", &plain, "none"),
        side("netd", &ours, "bridge"),
    ];
    let two = [sides[0].clone(), sides[2].clone()];
    networks(&two, 1, words.rounds)?;
    networks(&two, words.parallel, 2)?;
    connections(&two, words.rounds)?;
    containers(&sides, 1, words.rounds)?;
    containers(&sides, words.parallel, 2)?;
    pings(&front, words.rounds * 50)?;
    front.close()
}

/// Runs a request for each number, so many at once; each one's time.
fn at_once(count: usize, ask: impl Fn(usize) -> Result<()> + Sync) -> Result<Vec<Duration>> {
    thread::scope(|scope| {
        let ask = &ask;
        let threads: Vec<_> = (0..count)
            .map(|number| {
                scope.spawn(move || {
                    let begun = Instant::now();
                    ask(number).map(|()| begun.elapsed())
                })
            })
            .collect();
        let joined = threads.into_iter();
        joined
            .map(|thread| thread.join().expect("no thread panics"))
            .collect()
    })
}

/// Numbers that were not used before, for names and subnets.
fn fresh() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn title(what: &str, parallel: usize) -> String {
    match parallel {
        1 => what.to_owned(),
        many => format!("{what}, {many} at once"),
    }
}

fn networks(sides: &[Side], parallel: usize, rounds: usize) -> Result<()> {
    let mut create = Row::new(&title("network create", parallel), sides);
    let mut remove = Row::new(&title("network rm", parallel), sides);
    for _ in 0..rounds {
        for (at, side) in sides.iter().enumerate() {
            let first = (0..parallel).map(|_| fresh()).min().unwrap_or_default();
            let name = |number: usize| format!("s{}", first + number);
            for took in at_once(parallel, |number| {
                let n = first + number;
                let subnet = format!("10.{}.{}.0/24", 100 + n / 256, n % 256);
                let body =
                    json!({ "Name": name(number), "IPAM": { "Config": [{ "Subnet": subnet }] } });
                side.api.post("/networks/create", &body).map(drop)
            })? {
                create.sides[at].1.add(took);
            }
            for took in at_once(parallel, |number| {
                side.api
                    .delete(&format!("/networks/{}", name(number)))
                    .map(drop)
            })? {
                remove.sides[at].1.add(took);
            }
        }
    }
    create.print();
    remove.print();
    Ok(())
}

fn connections(sides: &[Side], rounds: usize) -> Result<()> {
    let mut connect = Row::new("network connect, running", sides);
    let mut disconnect = Row::new("network disconnect, running", sides);
    for side in sides {
        side.api.sleeper("joiner", &json!({}))?;
        side.api
            .post("/networks/create", &json!({ "Name": "joined" }))?;
    }
    for _ in 0..rounds {
        for (at, side) in sides.iter().enumerate() {
            for (row, verb) in [(&mut connect, "connect"), (&mut disconnect, "disconnect")] {
                let begun = Instant::now();
                let path = format!("/networks/joined/{verb}");
                side.api.post(&path, &json!({ "Container": "joiner" }))?;
                row.sides[at].1.add(begun.elapsed());
            }
        }
    }
    for side in sides {
        side.api.delete("/containers/joiner?force=1")?;
        side.api.delete("/networks/joined")?;
    }
    connect.print();
    disconnect.print();
    Ok(())
}

fn containers(sides: &[Side], parallel: usize, rounds: usize) -> Result<()> {
    let mut run = Row::new(&title("run -d -p (create, start)", parallel), sides);
    let mut remove = Row::new(&title("rm -f", parallel), sides);
    for _ in 0..rounds {
        for (at, side) in sides.iter().enumerate() {
            let first = (0..parallel).map(|_| fresh()).min().unwrap_or_default();
            let name = |number: usize| format!("c{}", first + number);
            for took in at_once(parallel, |number| {
                let more = json!({
                    "ExposedPorts": { "80/tcp": {} },
                    "HostConfig": {
                        "NetworkMode": side.mode,
                        "PortBindings": { "80/tcp": [{ "HostPort": "" }] },
                    },
                });
                side.api.sleeper(&name(number), &more).map(drop)
            })? {
                run.sides[at].1.add(took);
            }
            for took in at_once(parallel, |number| {
                let path = format!("/containers/{}?force=1", name(number));
                side.api.delete(&path).map(drop)
            })? {
                remove.sides[at].1.add(took);
            }
        }
    }
    run.print();
    remove.print();
    Ok(())
}

/// `/_ping` of the engine behind netd's socket, directly and through it: what passing through costs.
fn pings(front: &Front, count: usize) -> Result<()> {
    let behind = behind(front)?;
    let sides = [
        Side {
            name: "engine",
            api: behind,
            mode: "",
        },
        Side {
            name: "netd",
            api: front.api(),
            mode: "",
        },
    ];
    let mut ping = Row::new("GET /_ping, a connection each", &sides);
    for _ in 0..count {
        for (at, side) in sides.iter().enumerate() {
            let begun = Instant::now();
            let answer = side.api.ask("GET", "/_ping", &Value::Null)?;
            ensure!(answer.status() == 200, "/_ping: {}", answer.status());
            ping.sides[at].1.add(begun.elapsed());
        }
    }
    ping.print();
    Ok(())
}

/// The engine's own socket.
fn behind(front: &Front) -> Result<Api> {
    let socket = front.upstream().context("the engine was closed")?;
    Ok(Api::new(Path::new(&socket)))
}
