use std::{fmt, str::FromStr};

use encoding_rs::{DecoderResult, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::{FileError, scan::Lines};

/// So many bytes are looked at before an encoding is settled.
const PROBE: usize = 64 * 1024;

/// How the characters of a file are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-16, the low byte first.
    Utf16LittleEndian,
    /// UTF-16, the high byte first.
    Utf16BigEndian,
    /// What Windows wrote in western Europe and America; ISO 8859-1 is a part of it.
    Windows1252,
}

impl Encoding {
    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16LittleEndian => "UTF-16LE",
            Self::Utf16BigEndian => "UTF-16BE",
            Self::Windows1252 => "Windows-1252",
        }
    }

    const fn is_utf16(self) -> bool {
        matches!(self, Self::Utf16LittleEndian | Self::Utf16BigEndian)
    }

    fn decoder(self) -> encoding_rs::Decoder {
        match self {
            Self::Utf8 => UTF_8,
            Self::Utf16LittleEndian => UTF_16LE,
            Self::Utf16BigEndian => UTF_16BE,
            Self::Windows1252 => WINDOWS_1252,
        }
        .new_decoder_without_bom_handling()
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no encoding of that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of utf-8, utf-16le, utf-16be, windows-1252")]
pub struct UnknownEncoding;

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    /// Reads a name in any case. `utf-16` is the little-endian one where no byte order mark says otherwise.
    fn from_str(name: &str) -> Result<Self, UnknownEncoding> {
        match name.trim().to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Ok(Self::Utf8),
            "utf-16" | "utf16" | "utf-16le" | "utf16le" => Ok(Self::Utf16LittleEndian),
            "utf-16be" | "utf16be" => Ok(Self::Utf16BigEndian),
            "windows-1252" | "cp1252" | "ansi" | "latin1" | "latin-1" | "iso-8859-1" => Ok(Self::Windows1252),
            _ => Err(UnknownEncoding),
        }
    }
}

/// Turns the bytes of a file into text, whatever the sizes in which they arrive.
///
/// A byte order mark says the encoding. Without one, zero bytes at every other place say UTF-16. Otherwise the encodings
/// that are left write ASCII alike, and the first 64 KiB from the first other byte decide: UTF-8 where they are valid, or
/// where there are more valid characters than wrong bytes in them; Windows-1252 else. Text is handed out as soon as that
/// is settled, so bytes that turn out to be no UTF-8 later are an error that names the line, and never a silent change of
/// encoding.
pub struct Decoder {
    chosen: Option<Encoding>,
    state: State,
    lines: Lines,
    /// Bytes that are not decoded because more must be seen first.
    waiting: Vec<u8>,
}

enum State {
    /// Nothing is handed out.
    Begin,
    /// All was ASCII.
    Ascii,
    /// The encoding is settled.
    Settled(Encoding, encoding_rs::Decoder),
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("encoding", &self.encoding()).finish_non_exhaustive()
    }
}

impl Decoder {
    /// At the beginning of a file, which has the chosen encoding where there is one.
    #[must_use]
    pub fn new(chosen: Option<Encoding>) -> Self {
        Self { chosen, state: State::Begin, lines: Lines::new(), waiting: Vec::new() }
    }

    /// The encoding, as soon as it is settled. All of a file being ASCII, it is UTF-8.
    #[must_use]
    pub const fn encoding(&self) -> Option<Encoding> {
        match self.state {
            State::Begin => None,
            State::Ascii => Some(Encoding::Utf8),
            State::Settled(encoding, _) => Some(encoding),
        }
    }

    /// Takes the next bytes, and adds the text that they complete to `text`.
    ///
    /// # Errors
    /// [`FileError::NotText`], [`FileError::Encoding`] and [`FileError::Nul`]. Nothing more can be decoded then.
    pub fn push(&mut self, bytes: &[u8], text: &mut String) -> Result<(), FileError> {
        self.take(bytes, false, text)
    }

    /// Says that there are no more bytes, and adds what was waiting to `text`.
    ///
    /// # Errors
    /// Those of [`Decoder::push`].
    pub fn finish(&mut self, text: &mut String) -> Result<(), FileError> {
        self.take(&[], true, text)
    }

    fn take(&mut self, bytes: &[u8], last: bool, text: &mut String) -> Result<(), FileError> {
        if let State::Settled(..) = self.state {
            return self.decode(bytes, last, text);
        }
        self.waiting.extend_from_slice(bytes);
        if let State::Begin = self.state {
            if self.waiting.len() < PROBE && !last {
                return Ok(());
            }
            self.begin()?;
        }
        if let State::Ascii = self.state {
            let plain = self.waiting.iter().position(|byte| !byte.is_ascii()).unwrap_or(self.waiting.len());
            let rest = self.waiting.split_off(plain);
            let plain = std::mem::replace(&mut self.waiting, rest);
            self.hand_out(&String::from_utf8_lossy(&plain), text)?;
            if self.waiting.is_empty() || (self.waiting.len() < PROBE && !last) {
                return Ok(());
            }
            let encoding = utf8_or_windows(probe(&self.waiting), self.waiting.len() > PROBE || !last);
            self.state = State::Settled(encoding, encoding.decoder());
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.decode(&waiting, last, text)
    }

    /// Looks at the first bytes of the file; a byte order mark is taken away.
    fn begin(&mut self) -> Result<(), FileError> {
        if let Some(kind) = kind_of_no_text(&self.waiting) {
            return Err(FileError::NotText(kind));
        }
        let marked = byte_order_mark(&self.waiting);
        let encoding = match (self.chosen, marked) {
            (None, Some((encoding, _))) => Some(encoding),
            (Some(chosen), Some((encoding, _))) if chosen.is_utf16() && encoding.is_utf16() => Some(encoding),
            (Some(chosen), _) => Some(chosen),
            (None, None) => utf16_without_mark(probe(&self.waiting)),
        };
        if let (Some(encoding), Some((of_mark, length))) = (encoding, marked)
            && encoding == of_mark
        {
            self.waiting.drain(..length);
        }
        self.state = encoding.map_or(State::Ascii, |encoding| State::Settled(encoding, encoding.decoder()));
        Ok(())
    }

    fn decode(&mut self, mut bytes: &[u8], last: bool, text: &mut String) -> Result<(), FileError> {
        let State::Settled(encoding, decoder) = &mut self.state else { return Ok(()) };
        let encoding = *encoding;
        let begin = text.len();
        loop {
            let needed = decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(bytes.len());
            text.reserve(needed);
            let (result, read) = decoder.decode_to_string_without_replacement(bytes, text, last);
            bytes = bytes.get(read..).unwrap_or_default();
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => {
                    let decoded = text.split_off(begin);
                    self.hand_out(&decoded, text)?;
                    return Err(FileError::Encoding { line: self.lines.current(), encoding });
                }
            }
        }
        self.check(text.get(begin..).unwrap_or_default()).inspect_err(|_| text.truncate(begin))
    }

    fn hand_out(&mut self, decoded: &str, text: &mut String) -> Result<(), FileError> {
        self.check(decoded)?;
        text.push_str(decoded);
        Ok(())
    }

    fn check(&mut self, decoded: &str) -> Result<(), FileError> {
        let end = decoded.find('\0');
        self.lines.pass(decoded.get(..end.unwrap_or(decoded.len())).unwrap_or_default());
        if end.is_some() { Err(FileError::Nul { line: self.lines.current() }) } else { Ok(()) }
    }
}

fn probe(bytes: &[u8]) -> &[u8] {
    bytes.get(..PROBE).unwrap_or(bytes)
}

fn kind_of_no_text(bytes: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 5] = [
        (b"PK\x03\x04", "a workbook (XLSX) or a ZIP archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (XLS)"),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"%PDF-", "a PDF"),
        (b"\x89PNG", "a picture"),
    ];
    kinds.into_iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, kind)| kind)
}

fn byte_order_mark(bytes: &[u8]) -> Option<(Encoding, usize)> {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Some((Encoding::Utf8, 3)),
        [0xff, 0xfe, ..] => Some((Encoding::Utf16LittleEndian, 2)),
        [0xfe, 0xff, ..] => Some((Encoding::Utf16BigEndian, 2)),
        _ => None,
    }
}

/// Separators, line ends and Latin letters have a zero byte in UTF-16: at least one pair in 20 has it, always on the
/// same side. A text of one byte a letter that a few zeros got into has them anywhere.
fn utf16_without_mark(bytes: &[u8]) -> Option<Encoding> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let first = pairs.iter().filter(|pair| pair[0] == 0).count();
    let second = pairs.iter().filter(|pair| pair[1] == 0).count();
    let is_most = |zeros: usize, others: usize| zeros > 0 && zeros * 20 >= pairs.len() && others * 4 < zeros;
    if is_most(second, first) {
        Some(Encoding::Utf16LittleEndian)
    } else if is_most(first, second) {
        Some(Encoding::Utf16BigEndian)
    } else {
        None
    }
}

/// A text in Windows-1252 hardly ever has two letters in a row that would be one character of UTF-8.
fn utf8_or_windows(bytes: &[u8], more_follows: bool) -> Encoding {
    let (mut characters, mut wrong) = (0_usize, 0_usize);
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        characters += chunk.valid().chars().filter(|character| !character.is_ascii()).count();
        let is_cut = more_follows && chunks.peek().is_none() && is_beginning(chunk.invalid());
        if !chunk.invalid().is_empty() && !is_cut {
            wrong += 1;
        }
    }
    if wrong == 0 || characters > wrong { Encoding::Utf8 } else { Encoding::Windows1252 }
}

/// Whether the bytes can be the beginning of a character of UTF-8 that goes on after them.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
