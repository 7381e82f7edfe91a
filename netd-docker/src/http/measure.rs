//! Where a body ends: what of the bytes that come is content, and what frames it.

use super::head::Framing;

/// The longest line that tells a chunk's size, bytes.
const LONGEST_SIZE: u32 = 4 << 10;
/// The longest trailers, bytes.
const LONGEST_TRAILERS: u32 = 64 << 10;

/// A part of what came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// So many bytes of content.
    Content(usize),
    /// So many bytes that frame it.
    Frame(usize),
}

impl Part {
    /// Its length.
    pub fn len(self) -> usize {
        let (Self::Content(length) | Self::Frame(length)) = self;
        length
    }
}

/// Where in the body the next byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Length(u64),
    Size {
        value: u64,
        digits: u32,
        /// After the digits: an extension or the line's end.
        after: bool,
        seen: u32,
    },
    Chunk(u64),
    /// The line break after a chunk; whether its first half came.
    Break(bool),
    Trailers {
        /// Bytes of this line but its line break.
        line: u32,
        seen: u32,
    },
    End,
    Done,
}

/// Follows one body.
#[derive(Clone, Copy, Debug)]
pub struct Measure(State);

/// Chunks that nobody can read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Garbled;

const SIZE: State = State::Size {
    value: 0,
    digits: 0,
    after: false,
    seen: 0,
};

impl Measure {
    /// At the body's first byte.
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => SIZE,
            Framing::End => State::End,
        })
    }

    /// Whether all of it came.
    pub fn done(&self) -> bool {
        self.0 == State::Done
    }

    /// Whether it lasts to the connection's end.
    pub fn lasts(&self) -> bool {
        self.0 == State::End
    }

    /// The part that `bytes` begin with; empty where `bytes` are, or the body is done.
    ///
    /// # Errors
    /// When these are no chunks.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Part, Garbled> {
        let within = |left: u64| usize::try_from(left).map_or(bytes.len(), |l| l.min(bytes.len()));
        match &mut self.0 {
            State::Done => return Ok(Part::Frame(0)),
            State::End => return Ok(Part::Content(bytes.len())),
            State::Length(left) => {
                let taken = within(*left);
                *left -= taken as u64;
                if *left == 0 {
                    self.0 = State::Done;
                }
                return Ok(Part::Content(taken));
            }
            State::Chunk(left) => {
                let taken = within(*left);
                *left -= taken as u64;
                if *left == 0 {
                    self.0 = State::Break(false);
                }
                return Ok(Part::Content(taken));
            }
            _ => {}
        }
        let mut taken = 0;
        for byte in bytes {
            if matches!(self.0, State::Chunk(_) | State::Done) {
                break;
            }
            self.0 = self.0.after(*byte)?;
            taken += 1;
        }
        Ok(Part::Frame(taken))
    }
}

impl State {
    /// After one byte that frames.
    fn after(self, byte: u8) -> Result<Self, Garbled> {
        match self {
            Self::Size {
                value,
                digits,
                after,
                seen,
            } => {
                if seen >= LONGEST_SIZE {
                    return Err(Garbled);
                }
                let next = |value, digits, after| Self::Size {
                    value,
                    digits,
                    after,
                    seen: seen + 1,
                };
                match (byte, char::from(byte).to_digit(16)) {
                    (_, Some(digit)) if !after && digits < 15 => {
                        Ok(next(value << 4 | u64::from(digit), digits + 1, false))
                    }
                    (b'\n', _) if digits > 0 => Ok(match value {
                        0 => Self::Trailers { line: 0, seen: 0 },
                        value => Self::Chunk(value),
                    }),
                    (b';' | b' ' | b'\t' | b'\r', _) if digits > 0 => Ok(next(value, digits, true)),
                    // Only an extension has further bytes: nobody may read them as another size.
                    (_, _) if after && byte != b'\n' => Ok(next(value, digits, true)),
                    _ => Err(Garbled),
                }
            }
            Self::Break(false) if byte == b'\r' => Ok(Self::Break(true)),
            Self::Break(true) if byte == b'\n' => Ok(SIZE),
            Self::Trailers { line, seen } => match byte {
                _ if seen >= LONGEST_TRAILERS => Err(Garbled),
                b'\n' if line == 0 => Ok(Self::Done),
                b'\n' => Ok(Self::Trailers {
                    line: 0,
                    seen: seen + 1,
                }),
                b'\r' => Ok(Self::Trailers {
                    line,
                    seen: seen + 1,
                }),
                _ => Ok(Self::Trailers {
                    line: line + 1,
                    seen: seen + 1,
                }),
            },
            _ => Err(Garbled),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The content of a body that comes in pieces of these lengths, and what is left behind it.
    fn content(framing: Framing, wire: &[u8], step: usize) -> Result<(Vec<u8>, usize), Garbled> {
        let mut measure = Measure::new(framing);
        let (mut at, mut got, mut held) = (0, Vec::new(), step);
        while !measure.done() && at < wire.len() {
            let part = measure.next(&wire[at..held.max(at).min(wire.len())])?;
            if let Part::Content(length) = part {
                got.extend_from_slice(&wire[at..at + length]);
            }
            at += part.len();
            if at == held {
                held += step;
            }
        }
        Ok((got, wire.len() - at))
    }

    #[test]
    fn p04_bodies_end_where_they_say() {
        let chunks = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nT: x\r\n\r\nNEXT";
        for step in 1..20 {
            let got = content(Framing::Chunked, chunks, step).unwrap();
            assert_eq!(got, (b"hello world".to_vec(), 4), "{step}");
            let got = content(Framing::Length(3), b"abcdef", step).unwrap();
            assert_eq!(got, (b"abc".to_vec(), 3));
        }
        assert!(Measure::new(Framing::Length(0)).done());
        assert!(Measure::new(Framing::None).done());
    }

    #[test]
    fn p04_garbled_chunks_are_refused() {
        for wire in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "5\r\nhelloX",
            "1000000000000000\r\n",
            "0x5\r\nhello\r\n",
            ";\r\n",
            "5\r\nhello\n",
        ] {
            assert!(
                content(Framing::Chunked, wire.as_bytes(), 3).is_err(),
                "{wire:?}"
            );
        }
        let long = format!("1;{}", "a".repeat(5000));
        assert!(content(Framing::Chunked, long.as_bytes(), 100).is_err());
    }

    proptest! {
        #[test]
        fn p04_chunks_are_put_together(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), step in 1_usize..50) {
            let mut wire = Vec::new();
            for piece in &pieces {
                wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                wire.extend_from_slice(piece);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(content(Framing::Chunked, &wire, step), Ok((pieces.concat(), 0)));
        }

        #[test]
        fn p04_no_bytes_break_the_measure(wire in prop::collection::vec(any::<u8>(), 0..200), step in 1_usize..50) {
            let _ = content(Framing::Chunked, &wire, step);
        }
    }
}
