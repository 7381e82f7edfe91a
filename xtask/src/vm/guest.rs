//! A guest: started, listened to, and ended when it does not end by itself.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    process::Stdio,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::run;

use super::{debian::Kernel, text};

/// How long a guest may take. Where the processor is emulated, it takes some minutes.
const LIMIT: Duration = Duration::from_secs(1200);

/// How long KVM has for the guest's first line.
const START: Duration = Duration::from_secs(60);

/// What the first process writes first and last.
const FIRST: &str = "GUEST kernel";
const LAST: &str = "GUEST done";

/// What runs the guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processor {
    /// This machine's, by KVM.
    Kvm,
    /// qemu's own, which is many times slower.
    Emulated,
}

impl Processor {
    /// KVM where its device can be opened; whether it works shows later.
    pub fn best() -> Self {
        match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
            Ok(_) => Self::Kvm,
            Err(error) => {
                println!("vm: /dev/kvm: {error}; the processor is emulated, which is slow");
                Self::Emulated
            }
        }
    }
}

/// What a guest told.
#[derive(Debug, Default)]
pub struct Ended {
    /// Lines `PASS`.
    pub passed: u64,
    /// Lines `FAIL`.
    pub failed: u64,
    /// Why it did not come to its end.
    pub fault: Option<String>,
    started: bool,
    done: bool,
    last: String,
}

/// qemu's command line.
pub fn words(kernel: &Kernel, initramfs: &Path, processor: Processor) -> Vec<String> {
    let (accelerator, model) = match processor {
        Processor::Kvm => ("kvm", "host"),
        Processor::Emulated => ("tcg,thread=multi", "max"),
    };
    // panic=-1 with -no-reboot: a guest that panics ends at once.
    let line = "console=ttyS0 panic=-1 oops=panic quiet rdinit=/init";
    let (image, initramfs) = (text(&kernel.image), text(initramfs));
    let line = if processor == Processor::Emulated {
        // Time goes by leaps there, and a slow guest is no fault.
        format!("{line} tsc=unstable nowatchdog rcupdate.rcu_cpu_stall_suppress=1")
    } else {
        line.to_owned()
    };
    [
        "qemu-system-x86_64",
        "-accel",
        accelerator,
        "-cpu",
        model,
        "-smp",
        "2",
        "-m",
        "2048",
        "-nodefaults",
        "-display",
        "none",
        "-nic",
        "none",
        "-no-reboot",
        "-serial",
        "stdio",
        "-kernel",
        &image,
        "-initrd",
        &initramfs,
        "-append",
        &line,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Boots it and shows its lines; everything it writes goes to `log`. Where KVM does not work, `processor` says so afterwards.
pub fn run(
    kernel: &Kernel,
    initramfs: &Path,
    log: &Path,
    processor: &mut Processor,
) -> Result<Ended> {
    let begin = Instant::now();
    let mut ended = boot(kernel, initramfs, log, *processor)?;
    if *processor == Processor::Kvm && !ended.started {
        println!(
            "vm: KVM does not work here ({}); the processor is emulated, which is slow",
            ended.fault.unwrap_or_default()
        );
        *processor = Processor::Emulated;
        ended = boot(kernel, initramfs, log, *processor)?;
    }
    let how = match processor {
        Processor::Kvm => "by KVM",
        Processor::Emulated => "with an emulated processor",
    };
    println!("took {} s {how}", begin.elapsed().as_secs());
    Ok(ended)
}

/// What comes from qemu: the guest's console by its output, its own complaints by the other stream.
enum Said {
    Guest(String),
    Qemu(String),
}

fn boot(kernel: &Kernel, initramfs: &Path, log: &Path, processor: Processor) -> Result<Ended> {
    let words = words(kernel, initramfs, processor);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut file = File::create(log).with_context(|| text(log))?;
    let mut child = run::command(&words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let (sender, receiver) = mpsc::channel();
    listen(child.stdout.take(), sender.clone(), Said::Guest);
    listen(child.stderr.take(), sender, Said::Qemu);
    let heard = follow(&receiver, &mut file, processor);
    // It may have ended by itself, or stopped the guest without ending.
    if !matches!(&heard, Ok(ended) if ended.fault.is_none()) {
        child.kill().context("cannot kill qemu")?;
    }
    child.wait().context("qemu")?;
    let mut ended = heard.with_context(|| text(log))?;
    if !ended.done && ended.fault.is_none() {
        let last = &ended.last;
        ended.fault = Some(format!(
            "qemu ended before the guest was done; the last line: {last}"
        ));
    }
    Ok(ended)
}

/// Hears all until qemu has closed its streams, or something is wrong with it.
fn follow(receiver: &Receiver<Said>, file: &mut File, processor: Processor) -> io::Result<Ended> {
    let begin = Instant::now();
    let mut ended = Ended::default();
    loop {
        let limit = if processor == Processor::Kvm && !ended.started {
            START
        } else {
            LIMIT
        };
        match receiver.recv_timeout(limit.saturating_sub(begin.elapsed())) {
            Ok(Said::Guest(line)) => {
                writeln!(file, "{line}")?;
                ended.hear(&line);
            }
            Ok(Said::Qemu(line)) => {
                writeln!(file, "qemu: {line}")?;
                if line.contains("KVM internal error") {
                    ended.fault = Some(line);
                    return Ok(ended);
                }
                if !line.contains("warning:") {
                    ended.last = line;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let (seconds, last) = (limit.as_secs(), &ended.last);
                ended.fault = Some(format!(
                    "the guest did not end within {seconds} s; the last line: {last}"
                ));
                return Ok(ended);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(ended),
        }
    }
}

impl Ended {
    /// Counts a line of the console, and shows it if it is for the reader.
    fn hear(&mut self, line: &str) {
        let line = line.trim_end();
        // What follows a panic tells less.
        if !line.is_empty() && !self.last.contains("Kernel panic") {
            line.clone_into(&mut self.last);
        }
        self.started |= line.starts_with(FIRST);
        self.done |= line == LAST;
        self.passed += u64::from(line.starts_with("PASS "));
        self.failed += u64::from(line.starts_with("FAIL "));
        let shown = ["PASS ", "FAIL ", "GUEST ", "LOG "];
        if shown.iter().any(|mark| line.starts_with(mark)) || line.contains("Kernel panic") {
            println!("{line}");
        }
    }
}

/// Hands on the lines of a stream from a thread of its own.
fn listen(
    stream: Option<impl Read + Send + 'static>,
    sender: Sender<Said>,
    kind: fn(String) -> Said,
) {
    let Some(stream) = stream else { return };
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(kind(plain(&line))).is_err() {
                return;
            }
        }
    });
}

/// Text without what moves a terminal's cursor: the firmware clears the screen first.
fn plain(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // ESC and one character, or ESC [ and all up to a letter.
            if rest.next() == Some('[') {
                rest.find(char::is_ascii_alphabetic);
            }
        } else if !c.is_control() || c == '\t' {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_they_are_shown() {
        let mut ended = Ended::default();
        let console = "\u{1b}c\u{1b}[?7l\u{1b}[2JGUEST kernel 6.1\r\nPASS a\r\nFAIL b: why\r\nPASSING by\r\nGUEST done\r";
        for line in console.split('\n') {
            ended.hear(&plain(line.as_bytes()));
        }
        assert_eq!((ended.passed, ended.failed), (1, 1));
        assert!(ended.started && ended.done);
    }
}
