use serde_json::value::RawValue;

use super::{
    cell::{DateFormat, DecimalSeparator},
    record::{ColumnFields, ImportMode},
    settings::ImportSettings,
};
use crate::{
    error::FieldErrors,
    import_file::{Delimiter, Encoding, FileOptions, Format, SplitLimits},
    input::{FromInput as _, Members, snake_case},
    text::Line,
};

/// Everything that can be said of an import besides the file.
pub const OPTION_NAMES: [&str; 15] = [
    "mapping",
    "mapping_name",
    "dry_run",
    "mode",
    "upsert_key",
    "defaults",
    "date_format",
    "decimal_separator",
    "delimiter",
    "encoding",
    "format",
    "clear_empty",
    "skip_duplicates",
    "allow_duplicate_phone",
    "file_name",
];

/// What is said of an import besides the file: text by text, in any order.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    pub(super) mapping: Option<ColumnFields>,
    pub(super) mapping_name: Option<Line<100>>,
    pub(super) dry_run: bool,
    pub(super) mode: Option<ImportMode>,
    pub(super) upsert_key: Option<String>,
    pub(super) encoding: Option<Encoding>,
    pub(super) format: Option<Format>,
    pub(super) delimiter: Option<Delimiter>,
    pub(super) file_name: Option<String>,
    pub(super) settings: ImportSettings,
    given: Vec<String>,
}

impl ImportOptions {
    /// Takes one option.
    ///
    /// # Errors
    /// What is wrong with it, by its name; `UNKNOWN_FIELD` for one that is none.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), FieldErrors> {
        let name = snake_case(name);
        let name = OPTION_NAMES.iter().find(|known| **known == name).ok_or_else(|| {
            let shown: String = name.chars().take(60).collect();
            let message = format!("is no option of an import; there are: file, {}", OPTION_NAMES.join(", "));
            FieldErrors::one(shown, "UNKNOWN_FIELD", message)
        })?;
        if self.given.iter().any(|given| given == name) {
            return Err(FieldErrors::one(*name, "DUPLICATE_FIELD", "is given more than once"));
        }
        self.given.push((*name).to_owned());
        let mut errors = FieldErrors::new();
        // A delimiter may be a tabulator.
        let value = if value.len() == 1 { value } else { value.trim() };
        errors.take(name, self.take(name, value));
        errors.or(())
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), FieldErrors> {
        if value.is_empty() {
            return Ok(());
        }
        match name {
            "mapping" => self.mapping = Some(ColumnFields::from_input(&json(value)?)?),
            "mapping_name" => self.mapping_name = Some(Line::parse(value)?),
            "dry_run" => self.dry_run = flag(value)?,
            "mode" => self.mode = Some(choice(value)?),
            "upsert_key" => self.upsert_key = Some(value.chars().take(200).collect()),
            "defaults" => {
                let given = json(value)?;
                Members::parse(&given)?;
                self.settings.defaults = Some(given);
            }
            "date_format" => {
                DateFormat::parse(value)?;
                self.settings.date_format = Some(value.to_owned());
            }
            "decimal_separator" => {
                DecimalSeparator::parse(value)?;
                self.settings.decimal_separator = Some(value.to_owned());
            }
            "delimiter" => self.delimiter = Some(choice(value)?),
            "encoding" => self.encoding = Some(choice(value)?),
            "format" => {
                self.format = match value {
                    "ndjson" => Some(Format::Ndjson),
                    // What stands between the cells is found out.
                    "csv" => None,
                    _ => return Err(FieldErrors::one("", "INVALID_CHOICE", "must be csv or ndjson")),
                }
            }
            "clear_empty" => self.settings.clear_empty = flag(value)?,
            "skip_duplicates" => self.settings.skip_duplicates = flag(value)?,
            "allow_duplicate_phone" => self.settings.allow_duplicate_phone = flag(value)?,
            _ => self.file_name = Some(plain(value)),
        }
        Ok(())
    }

    /// Takes the name that the file was sent with, unless one was said.
    pub fn name_file(&mut self, name: &str) {
        if self.file_name.is_none() {
            self.file_name = Some(plain(name)).filter(|name| !name.is_empty());
        }
    }

    /// What is to be done with rows: an upsert where a key for it was given and nothing else.
    #[must_use]
    pub(super) fn mode(&self) -> ImportMode {
        self.mode.unwrap_or(if self.upsert_key.is_some() { ImportMode::Upsert } else { ImportMode::Create })
    }

    /// How the file is read.
    pub(super) fn file(&self) -> FileOptions {
        FileOptions {
            encoding: self.encoding,
            format: self.format,
            delimiter: self.delimiter,
            limits: SplitLimits::default(),
        }
    }
}

/// A file's name without its folder.
fn plain(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    name.chars().filter(|character| !character.is_control()).take(255).collect::<String>().trim().to_owned()
}

fn flag(value: &str) -> Result<bool, FieldErrors> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(FieldErrors::one("", "INVALID_FORMAT", "must be true or false")),
    }
}

fn choice<T: std::str::FromStr<Err: std::fmt::Display>>(value: &str) -> Result<T, FieldErrors> {
    value.parse().map_err(|error: T::Err| FieldErrors::one("", "INVALID_CHOICE", error.to_string()))
}

fn json(value: &str) -> Result<Box<RawValue>, FieldErrors> {
    serde_json::from_str(value)
        .map_err(|error| FieldErrors::one("", "INVALID_JSON", format!("is not valid JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_one_by_one() {
        let mut options = ImportOptions::default();
        for (name, value) in [
            ("mapping", r#"{"Mail":"email","x":null}"#),
            ("dry_run", "true"),
            ("upsertKey", "email"),
            ("date_format", "dd/mm/yyyy"),
            ("delimiter", ";"),
            ("encoding", "windows-1252"),
            ("defaults", r#"{"status":"inactive"}"#),
            ("decimal_separator", ","),
        ] {
            options.set(name, value).unwrap_or_else(|errors| panic!("{name}: {errors}"));
        }
        assert!(options.dry_run && options.mode() == ImportMode::Upsert && options.mapping.is_some());
        assert_eq!(options.delimiter, Some(Delimiter::SEMICOLON));
        for (name, value, field, code) in [
            ("mapping", "{}", "mapping", "DUPLICATE_FIELD"),
            ("mode", "replace", "mode", "INVALID_CHOICE"),
            ("clear_empty", "maybe", "clear_empty", "INVALID_FORMAT"),
            ("file_format", "csv", "file_format", "UNKNOWN_FIELD"),
        ] {
            let errors = options.set(name, value).unwrap_err();
            let error = errors.iter().next().unwrap();
            assert_eq!((error.field.as_str(), error.code), (field, code));
        }
        let wrong = |name: &str, value: &str| ImportOptions::default().set(name, value).is_err();
        assert!(wrong("mapping", "{") && wrong("mapping", "[]") && wrong("mapping", r#"{"a":1}"#));
        assert!(wrong("defaults", "1") && wrong("date_format", "x") && wrong("encoding", "klingon"));
    }
}
