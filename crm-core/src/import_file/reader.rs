use super::{Decoder, Delimiter, Encoding, FileError, Format, Header, Part, SplitLimits, Splitter};

/// So much text is looked at before the format is settled.
const SAMPLE: usize = 64 * 1024;

/// What is known of a file beforehand; what is not is found out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FileOptions {
    /// The encoding.
    pub encoding: Option<Encoding>,
    /// The format.
    pub format: Option<Format>,
    /// What stands between cells: the file is CSV then.
    pub delimiter: Option<Delimiter>,
    /// How it is cut.
    pub limits: SplitLimits,
}

/// Reads a file as it arrives: bytes in, parts of whole records out.
#[derive(Debug)]
pub struct FileReader {
    decoder: Decoder,
    known: Option<Format>,
    limits: SplitLimits,
    splitter: Option<(Format, Splitter)>,
    text: String,
}

impl FileReader {
    /// At the beginning of a file.
    #[must_use]
    pub fn new(options: FileOptions) -> Self {
        Self {
            decoder: Decoder::new(options.encoding),
            known: options.delimiter.map(Format::Csv).or(options.format),
            limits: options.limits,
            splitter: None,
            text: String::new(),
        }
    }

    /// The encoding, once it is settled.
    #[must_use]
    pub const fn encoding(&self) -> Option<Encoding> {
        self.decoder.encoding()
    }

    /// The format, once it is settled: before the first part, and at the end at the latest.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.splitter.as_ref().map(|(format, _)| *format)
    }

    /// The header of a CSV file, before its first part.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.splitter.as_ref().and_then(|(_, splitter)| splitter.header())
    }

    /// Takes the next bytes, and adds the parts that they complete to `parts`.
    ///
    /// # Errors
    /// Why the file cannot be read. Nothing more can be read then; `parts` has what was complete before.
    pub fn push(&mut self, bytes: &[u8], parts: &mut Vec<Part>) -> Result<(), FileError> {
        let decoded = self.decoder.push(bytes, &mut self.text);
        self.split(false, parts)?;
        decoded
    }

    /// Says that there are no more bytes, and adds the last parts to `parts`.
    ///
    /// # Errors
    /// Those of [`FileReader::push`], and [`FileError::Empty`] where there was nothing but empty lines.
    pub fn finish(&mut self, parts: &mut Vec<Part>) -> Result<(), FileError> {
        let decoded = self.decoder.finish(&mut self.text);
        self.split(decoded.is_ok(), parts)?;
        decoded?;
        self.splitter.as_mut().map_or(Err(FileError::Empty), |(_, splitter)| splitter.finish(parts))
    }

    fn split(&mut self, whole: bool, parts: &mut Vec<Part>) -> Result<(), FileError> {
        let (_, splitter) = match &mut self.splitter {
            Some(splitter) => splitter,
            none => {
                let format = match self.known {
                    Some(format) => format,
                    None if self.text.len() > SAMPLE || whole => {
                        let sample = self.text.get(..self.text.floor_char_boundary(SAMPLE)).unwrap_or_default();
                        Format::detect(sample, sample.len() == self.text.len())?
                    }
                    None => return Ok(()),
                };
                none.insert((format, Splitter::new(format, self.limits)))
            }
        };
        splitter.push(&self.text, parts)?;
        self.text.clear();
        Ok(())
    }
}
