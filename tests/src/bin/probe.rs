//! The far ends of the tests' probes: a server that tells whom it sees, and clients that ask it.
//!
//! `serve PORT` | `tcp ADDR:PORT MILLIS` | `udp ADDR:PORT MILLIS` | `hold ADDR:PORT` (until its input ends).
//! Names: `dns --listen ADDR:PORT …` serves, `ask udp|tcp ADDR:PORT MILLIS HEX` sends any bytes, `flood udp|tcp ADDR:PORT
//! NAME COUNT` asks that often at once, `steady ADDR:PORT NAME ADDRESS` all the time.
//! Load: `load connect|exchange|echo|hold|serve|flood …`; `load help` tells.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write, stdin},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use netd_tests::{
    dns, load,
    probe::{self, plain},
};

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", port] => serve(port.parse()?),
        [protocol @ ("tcp" | "udp"), to, millis] => {
            let time = Duration::from_millis(millis.parse()?);
            print!("{}", probe::ask(protocol, to.parse()?, time)?);
            Ok(())
        }
        ["hold", to] => hold(to.parse()?),
        ["dns", ref rest @ ..] => dns::serve::run(rest),
        ["ask", transport, to, millis, hex] => ask(transport, to, millis, hex),
        ["flood", transport, to, name, count] => dns::load::run_flood(transport, to, name, count),
        ["steady", to, name, address] => dns::load::run_steady(to, name, address),
        ["load", ref rest @ ..] => load::run(rest),
        _ => bail!(
            "usage: netd-probe serve PORT | tcp|udp ADDR:PORT MILLIS | hold ADDR:PORT | dns --listen ADDR:PORT …\n\
             | ask udp|tcp ADDR:PORT MILLIS HEX | flood udp|tcp ADDR:PORT NAME COUNT | steady ADDR:PORT NAME ADDRESS | load …"
        ),
    }
}

fn serve(port: u16) -> Result<()> {
    // Dual-stack where there is IPv6; in a namespace with IPv6 off, IPv4 alone.
    let any = move |v6: bool| {
        SocketAddr::new(
            if v6 {
                [0_u16; 8].into()
            } else {
                [0_u8; 4].into()
            },
            port,
        )
    };
    let listener = TcpListener::bind(any(true)).or_else(|_| TcpListener::bind(any(false)))?;
    let socket = UdpSocket::bind(any(true)).or_else(|_| UdpSocket::bind(any(false)))?;
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let local = socket.local_addr().map_or_else(|_| any(true), plain);
            // A peer that cannot be answered is its own concern.
            let _ = socket.send_to(format!("{} {local}\n", plain(peer)).as_bytes(), peer);
        }
    });
    println!("ready");
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        thread::spawn(move || answer(&stream));
    }
    Ok(())
}

fn answer(mut stream: &TcpStream) {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
        return;
    };
    let line = format!("{} {}\n", plain(peer), plain(local));
    for request in BufReader::new(stream).lines() {
        if request.is_err() || stream.write_all(line.as_bytes()).is_err() {
            return;
        }
    }
}

fn hold(to: SocketAddr) -> Result<()> {
    static ENDED: AtomicBool = AtomicBool::new(false);
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    println!("connected");
    thread::spawn(|| {
        // Any end of input, also an error, ends the exchange.
        let _ = stdin().read_to_end(&mut Vec::new());
        ENDED.store(true, Ordering::Relaxed);
    });
    let (mut writer, mut reader) = (&stream, BufReader::new(&stream));
    let mut lines = 0_u64;
    loop {
        // Asked before the exchange: the last one comes after the end of the input.
        let last = ENDED.load(Ordering::Relaxed);
        writer.write_all(b"?\n")?;
        let mut line = String::new();
        ensure!(
            reader.read_line(&mut line)? > 0,
            "the server closed after {lines} lines"
        );
        lines += 1;
        if last {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    println!("{lines}");
    Ok(())
}

/// Sends bytes as they are (with their length in front by TCP); prints code, flags and the answer's bytes, or `none`.
fn ask(transport: &str, to: &str, millis: &str, hex: &str) -> Result<()> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16))
        .collect::<Result<_, _>>()?;
    let client = dns::Client::here(to.parse()?).patience(millis.parse()?);
    let answer = if transport == "tcp" {
        let mut stream = client.stream()?;
        dns::client::send_framed(&mut stream, &bytes)?;
        dns::client::receive_framed(&mut stream).ok().flatten()
    } else {
        client.datagram(&bytes)?
    };
    match answer.as_deref() {
        Some(answer @ [_, _, high, low, ..]) => {
            let text: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("code {} flags {high:02x}{low:02x} {text}", low & 15);
        }
        Some(answer) => println!("short {answer:?}"),
        None => println!("none"),
    }
    Ok(())
}
