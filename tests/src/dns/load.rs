//! Many questions at once, and questions all the time. Runs in `netd-probe`, so that its limits are its own.

use std::{
    io::{Read as _, stdin},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RData,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    runtime::Builder,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{MissedTickBehavior, timeout},
};

use super::{answers, client::question};
use crate::{
    run::{Process, Scope},
    world::binary,
};

/// How long an answer is waited for once somebody is there to give it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions of a [`Steady`] that may wait for answers; the next one waits for one of these. The resolver's socket holds more than
/// two such clients have.
const WAITING: usize = 500;

/// What became of many questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Asked.
    pub asked: u64,
    /// Rightly answered.
    pub right: u64,
    /// Answered otherwise.
    pub wrong: u64,
    /// Not answered.
    pub lost: u64,
    /// Asked again, because nobody had answered at the end.
    pub resent: u64,
    /// Milliseconds to the slowest answer.
    pub slowest: u64,
}

/// What became of one.
enum Fate {
    Right,
    Wrong(String),
    Lost,
}

impl Tally {
    fn add(&mut self, fate: &Fate, resent: u64, time: Duration) {
        self.asked += 1;
        self.resent += resent;
        match fate {
            Fate::Right => self.right += 1,
            Fate::Wrong(what) => {
                self.wrong += 1;
                // The first ones say enough.
                if self.wrong <= 3 {
                    eprintln!("wrong: {what}");
                }
            }
            Fate::Lost => self.lost += 1,
        }
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.slowest = self.slowest.max(millis);
    }

    fn print(self) {
        println!(
            "{} {} {} {} {} {}",
            self.asked, self.right, self.wrong, self.lost, self.resent, self.slowest
        );
    }

    fn parse(line: &str) -> Result<Self> {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("no tally: {line:?}"))?;
        let [asked, right, wrong, lost, resent, slowest] = numbers[..] else {
            bail!("no tally: {line:?}");
        };
        Ok(Self {
            asked,
            right,
            wrong,
            lost,
            resent,
            slowest,
        })
    }
}

/// `count` questions at once from one process, each from a socket of its own, each asked once. `{}` in the name is the
/// question's number; names as `n{}.…` must have the address of that number, others any.
///
/// # Errors
/// When it does not come to its end.
pub fn flood(
    scope: &Scope,
    transport: &str,
    server: SocketAddr,
    name: &str,
    count: usize,
) -> Result<Tally> {
    let output = scope.run(&[
        &binary("netd-probe"),
        "flood",
        transport,
        &server.to_string(),
        name,
        &count.to_string(),
    ])?;
    ensure!(output.ok, "flood: {}", output.text());
    Tally::parse(output.stdout.trim())
}

/// Asks for a name's address every 5 ms, and waits for each answer for as long as the resolver may be away; what has no answer when
/// it is there again is asked once more. [`Steady::end`] tells.
#[derive(Debug)]
pub struct Steady(Process);

impl Steady {
    /// Starts it and waits for the first right answer.
    ///
    /// # Errors
    /// When it does not come.
    pub fn start(scope: &Scope, server: SocketAddr, name: &str, address: IpAddr) -> Result<Self> {
        let mut process = scope.spawn(&[
            &binary("netd-probe"),
            "steady",
            &server.to_string(),
            name,
            &address.to_string(),
        ])?;
        let line = process.line()?;
        ensure!(line == "answered", "no answer for {name} at first: {line}");
        Ok(Self(process))
    }

    /// Asks no more, waits for the last answers. The resolver must be there.
    ///
    /// # Errors
    /// When it broke.
    pub fn end(self) -> Result<Tally> {
        let output = self.0.finish()?;
        ensure!(output.ok, "the client broke");
        Tally::parse(output.stdout.trim())
    }
}

/// The program of [`flood`].
///
/// # Errors
/// When the words are wrong or a socket cannot be made.
pub fn run_flood(transport: &str, server: &str, name: &str, count: &str) -> Result<()> {
    let (server, count): (SocketAddr, usize) = (server.parse()?, count.parse()?);
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let tcp = transport == "tcp";
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sockets = Vec::new();
        for _ in 0..count {
            sockets.push(if tcp {
                None
            } else {
                Some(socket(server).await?)
            });
        }
        let mut tasks = JoinSet::new();
        for (number, socket) in (0_u32..).zip(sockets) {
            let name = name.replace("{}", &number.to_string());
            let wanted = name
                .starts_with(&format!("n{number}."))
                .then(|| IpAddr::V4(answers::numbered(number)));
            tasks.spawn(async move {
                let begun = Instant::now();
                let fate = match socket {
                    Some(socket) => one_datagram(&socket, &question(&name, "A")?, wanted).await,
                    None => one_connection(server, &name, wanted).await,
                };
                anyhow::Ok((fate?, begun.elapsed()))
            });
        }
        let mut tally = Tally::default();
        while let Some(done) = tasks.join_next().await {
            let (fate, time) = done??;
            tally.add(&fate, 0, time);
        }
        tally.print();
        Ok(())
    })
}

/// The program of [`Steady`]: until the end of its input.
///
/// # Errors
/// When the words are wrong or a socket cannot be made.
pub fn run_steady(server: &str, name: &str, address: &str) -> Result<()> {
    let (server, address): (SocketAddr, IpAddr) = (server.parse()?, address.parse()?);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked = question(name, "A")?;
        let first = one_datagram(&socket(server).await?, &asked, Some(address)).await?;
        ensure!(matches!(first, Fate::Right), "the first answer");
        println!("answered");
        let (end, ended) = watch::channel(false);
        thread::spawn(move || {
            // Any end of input, also an error, ends the questions.
            let _ = stdin().read_to_end(&mut Vec::new());
            let _ = end.send(true);
        });
        let waiting = Arc::new(Semaphore::new(WAITING));
        let mut tasks = JoinSet::new();
        let mut clock = tokio::time::interval(Duration::from_millis(5));
        // Those that waited are not made up for.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !*ended.borrow() {
            clock.tick().await;
            let mut stop = ended.clone();
            let place = tokio::select! {
                place = Arc::clone(&waiting).acquire_owned() => place?,
                _ = stop.wait_for(|ended| *ended) => break,
            };
            let asked = question(name, "A")?;
            tasks.spawn(async move {
                let _place = place;
                patient(server, &asked, address, stop).await
            });
        }
        let mut tally = Tally::default();
        while let Some(done) = tasks.join_next().await {
            let (fate, resent, time) = done??;
            tally.add(&fate, resent, time);
        }
        tally.print();
        Ok(())
    })
}

/// Asks, and asks once more if there is no answer a while after the end.
async fn patient(
    server: SocketAddr,
    asked: &[u8],
    address: IpAddr,
    mut ended: watch::Receiver<bool>,
) -> Result<(Fate, u64, Duration)> {
    let begun = Instant::now();
    let socket = socket(server).await?;
    let late = async {
        // An error: it has ended.
        let _ = ended.wait_for(|ended| *ended).await;
        tokio::time::sleep(PATIENCE).await;
    };
    if let Err(error) = socket.send(asked).await {
        return Ok((Fate::Wrong(format!("sending: {error}")), 0, begun.elapsed()));
    }
    let (fate, resent) = tokio::select! {
        fate = answer(&socket, asked, Some(address)) => (fate, 0),
        // The same message: an answer to the first one counts.
        () = late => (one_datagram(&socket, asked, Some(address)).await?, 1),
    };
    Ok((fate, resent, begun.elapsed()))
}

async fn socket(server: SocketAddr) -> Result<UdpSocket> {
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn one_datagram(socket: &UdpSocket, asked: &[u8], wanted: Option<IpAddr>) -> Result<Fate> {
    if let Err(error) = socket.send(asked).await {
        return Ok(Fate::Wrong(format!("sending: {error}")));
    }
    let answered = timeout(PATIENCE, answer(socket, asked, wanted)).await;
    Ok(answered.unwrap_or(Fate::Lost))
}

/// Waits for the answer to this question. Those of others are passed by, as clients do (RFC 5452, 9.1): the kernel may have given
/// this socket the port of one that is closed.
async fn answer(socket: &UdpSocket, asked: &[u8], wanted: Option<IpAddr>) -> Fate {
    let mut buffer = vec![0; 4096];
    loop {
        let length = match socket.recv(&mut buffer).await {
            Ok(length) => length,
            Err(error) => return Fate::Wrong(error.to_string()),
        };
        let answer = buffer.get(..length).unwrap_or_default();
        if !is_of_another(asked, answer) {
            return judge(asked, answer, wanted);
        }
    }
}

/// Whether this is the well-formed answer to another question.
fn is_of_another(asked: &[u8], answer: &[u8]) -> bool {
    let (Ok(asked), Ok(answer)) = (Message::from_vec(asked), Message::from_vec(answer)) else {
        return false;
    };
    answer.metadata.id != asked.metadata.id
}

async fn one_connection(server: SocketAddr, name: &str, wanted: Option<IpAddr>) -> Result<Fate> {
    let asked = question(name, "A")?;
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let mut message = u16::try_from(asked.len())?.to_be_bytes().to_vec();
        message.extend(&asked);
        stream.write_all(&message).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        anyhow::Ok(answer)
    };
    Ok(match timeout(PATIENCE, exchange).await {
        Err(_) => Fate::Lost,
        Ok(Err(error)) => Fate::Wrong(format!("{error:#}")),
        Ok(Ok(answer)) => judge(&asked, &answer, wanted),
    })
}

/// The right id, question, code and address.
fn judge(asked: &[u8], answer: &[u8], wanted: Option<IpAddr>) -> Fate {
    let (Ok(asked), Ok(answer)) = (Message::from_vec(asked), Message::from_vec(answer)) else {
        return Fate::Wrong("malformed".into());
    };
    let addresses: Vec<IpAddr> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(a) => Some(a.0.into()),
            RData::AAAA(aaaa) => Some(aaaa.0.into()),
            _ => None,
        })
        .collect();
    let right = answer.metadata.id == asked.metadata.id
        && answer.queries == asked.queries
        && answer.metadata.response_code == ResponseCode::NoError
        && match wanted {
            Some(wanted) => addresses == [wanted],
            None => !addresses.is_empty(),
        };
    if right {
        Fate::Right
    } else {
        Fate::Wrong(format!(
            "{:?} {addresses:?} for {:?}",
            answer.metadata.response_code, asked.queries
        ))
    }
}
