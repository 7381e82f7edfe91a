//! `netd-probe load …`: the command line of clients, server and floods. Results are one JSON object on standard output.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    attempts::{Attempts, Kind},
    client::{self, Extent},
    flood, frame, serve,
    sockets::Transport,
};

#[derive(Debug, Parser)]
#[command(name = "netd-probe load")]
struct Words {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Short TCP connections.
    Connect {
        #[command(flatten)]
        client: Client,
        /// The client closes first, and keeps the TIME-WAIT state.
        #[arg(long)]
        client_first: bool,
    },
    /// Exchanges of datagrams, each with a socket of its own.
    Exchange {
        #[command(flatten)]
        client: Client,
    },
    /// ICMP echo, each with an identifier of its own; ports are ignored.
    Echo {
        #[command(flatten)]
        client: Client,
    },
    /// A long connection for each thread.
    Hold {
        #[command(flatten)]
        client: Client,
        #[arg(long, value_enum, default_value = "tcp")]
        transport: Long,
    },
    /// Answers TCP and UDP.
    Serve {
        /// Ports: `7000`, `7000-7009`, separated by commas.
        #[arg(long)]
        ports: String,
        /// Addresses to listen on, and to answer datagrams from; without: all.
        #[arg(long, value_delimiter = ',')]
        bind: Vec<IpAddr>,
        #[arg(long, default_value_t = 2)]
        threads: u64,
    },
    /// Frames with forged or own sources.
    Flood {
        #[arg(long, value_enum)]
        kind: Frame,
        #[arg(long)]
        interface: String,
        /// Ethernet address of the next hop.
        #[arg(long)]
        mac: String,
        /// Source addresses, chosen at random: an address or a prefix.
        #[arg(long)]
        from: flood::Prefix,
        #[arg(long, default_value = "1024-65535")]
        from_ports: String,
        /// Destinations, likewise.
        #[arg(long)]
        to: flood::Prefix,
        #[arg(long, default_value = "1-65535")]
        to_ports: String,
        /// Frames per second.
        #[arg(long)]
        rate: f64,
        #[arg(long)]
        seconds: f64,
    },
}

#[derive(Debug, Args)]
struct Client {
    /// Where to; several in turns.
    #[arg(long, required = true, value_delimiter = ',')]
    to: Vec<SocketAddr>,
    /// The source address.
    #[arg(long)]
    from: Option<IpAddr>,
    #[arg(long, default_value_t = 1)]
    threads: u64,
    /// How long; without: until the end of standard input.
    #[arg(long)]
    seconds: Option<f64>,
    /// Go on after that until so many attempts were made.
    #[arg(long, default_value_t = 0)]
    least: u64,
    /// Attempts per second of each thread; without: as fast as possible.
    #[arg(long)]
    rate: Option<f64>,
    /// Milliseconds to wait for a connection and for each answer; without: 5,000, for datagrams 1,000.
    #[arg(long)]
    patience: Option<u64>,
    /// How often a datagram is sent again.
    #[arg(long, default_value_t = 0)]
    retries: u64,
    /// Write each failure to this file.
    #[arg(long)]
    failures: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Long {
    Tcp,
    Udp,
    Icmp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Frame {
    Syn,
    Udp,
}

/// Runs what the words after `load` say.
///
/// # Errors
/// When they are wrong or it cannot run; failed attempts are a result and no error.
pub fn run(words: &[&str]) -> Result<()> {
    let words = [&["netd-probe load"], words].concat();
    match Words::try_parse_from(words)?.what {
        What::Connect {
            client,
            client_first: true,
        } => client.run(Kind::ConnectClientFirst),
        What::Connect { client, .. } => client.run(Kind::Connect),
        What::Exchange { client } => client.run(Kind::Exchange(Transport::Udp)),
        What::Echo { client } => client.run(Kind::Exchange(Transport::Icmp)),
        What::Hold { client, transport } => client.run(Kind::Hold(match transport {
            Long::Tcp => Transport::Tcp,
            Long::Udp => Transport::Udp,
            Long::Icmp => Transport::Icmp,
        })),
        What::Serve {
            ports,
            bind,
            threads,
        } => {
            let mut list = Vec::new();
            for part in ports.split(',') {
                let (first, last) = range(part)?;
                list.extend(first..=last);
            }
            serve::run(&bind, &list, threads)
        }
        What::Flood {
            kind,
            interface,
            mac,
            from,
            from_ports,
            to,
            to_ports,
            rate,
            seconds,
        } => {
            let sent = flood::run(&flood::Plan {
                kind: match kind {
                    Frame::Syn => frame::Kind::Syn,
                    Frame::Udp => frame::Kind::Udp,
                },
                interface,
                mac: ethernet(&mac)?,
                from,
                from_ports: range(&from_ports)?,
                to,
                to_ports: range(&to_ports)?,
                rate,
                time: Duration::try_from_secs_f64(seconds)?,
            })?;
            println!("{}", serde_json::to_string(&sent)?);
            Ok(())
        }
    }
}

impl Client {
    fn run(self, kind: Kind) -> Result<()> {
        let datagrams = !matches!(
            kind,
            Kind::Connect | Kind::ConnectClientFirst | Kind::Hold(Transport::Tcp)
        );
        let usual = if datagrams { 1000 } else { 5000 };
        let attempts = Attempts {
            kind,
            to: self.to,
            from: self.from,
            patience: Duration::from_millis(self.patience.unwrap_or(usual)),
            retries: self.retries,
        };
        let extent = Extent {
            threads: self.threads.max(1),
            time: self.seconds.map(Duration::try_from_secs_f64).transpose()?,
            least: self.least,
            rate: self.rate,
            failures: self.failures,
        };
        let tally = client::run(&attempts, &extent)?;
        println!("{}", serde_json::to_string(&tally)?);
        Ok(())
    }
}

/// `7000` or `7000-7009`.
fn range(text: &str) -> Result<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        text.parse::<u16>()
            .with_context(|| format!("port {text:?}"))
    };
    Ok((number(first)?, number(last)?))
}

fn ethernet(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()
        .with_context(|| format!("Ethernet address {text:?}"))?;
    bytes
        .try_into()
        .map_err(|_| anyhow::anyhow!("Ethernet address {text:?}"))
}
