//! Files that customers are read from: bytes of any encoding in, records with their line numbers out.
//!
//! Nothing here reads or writes anything, and nothing holds more than one part of a file. [`FileReader`] takes the bytes
//! as they arrive, in pieces of any size, finds out the encoding ([`Decoder`]) and the format ([`Format`]), and cuts the
//! text at record boundaries ([`Splitter`]) into [`Part`]s that can be kept and worked on one by one. [`records`] reads
//! the records of a part; [`guess_mapping`] says which column is probably which field. What is found depends on the
//! bytes alone, not on how they were cut when they arrived.
//!
//! [`defuse`] and [`undefuse`], [`join_list`] and [`split_list`] are how an export writes cells, and how an import takes
//! them back.
//!
//! ```
//! use crm_core::import_file::{Content, FileOptions, FileReader, records};
//!
//! let mut reader = FileReader::new(FileOptions::default());
//! let mut parts = Vec::new();
//! for piece in [&b"name;city\r\n\"Am\xe9"[..], b"lie\";Paris\r\nBob;\"New\r\nYork\"\r\n"] {
//!     reader.push(piece, &mut parts).unwrap();
//! }
//! reader.finish(&mut parts).unwrap();
//! let (format, header) = (reader.format().unwrap(), reader.header().unwrap());
//! assert_eq!(header.columns, ["name", "city"]);
//! let read: Vec<_> = records(&parts[0], format, header.columns.len()).collect();
//! assert_eq!((read[0].line, read[1].line), (2, 3));
//! let Ok(Content::Cells(cells)) = &read[0].content else { panic!("no cells") };
//! assert_eq!(cells.as_slice(), ["Amélie", "Paris"]);
//! ```

mod decode;
mod failure;
mod format;
mod formula;
mod list;
mod mapping;
mod reader;
mod record;
mod scan;
mod split;
mod synonyms;

#[cfg(test)]
mod tests;

pub use self::{
    decode::{Decoder, Encoding, UnknownEncoding},
    failure::FileError,
    format::{Delimiter, Format, UnknownDelimiter},
    formula::{defuse, undefuse},
    list::{join_list, split_list},
    mapping::{ImportField, guess_mapping},
    reader::{FileOptions, FileReader},
    record::{Content, Record, RecordError, Records, cells, records},
    split::{Header, Part, SplitLimits, Splitter},
};
