//! Everything that reading the rows of an import takes, settled once.

use std::{collections::HashMap, str::FromStr as _};

use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use super::{
    cell::{DateFormat, DecimalSeparator},
    field::{self, Field, Kind},
    record::{CustomerImport, ImportMode},
    settings::ImportSettings,
};
use crate::{
    customer::{ContactKind, service::Context},
    error::{Error, FieldErrors, Result},
    field::CustomFieldId,
    import_file::{Delimiter, Format},
    input::Members,
};

/// Everything that reading the rows of an import takes.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) format: Format,
    pub(super) mode: ImportMode,
    pub(super) finds_by: FindsBy,
    pub(super) settings: ImportSettings,
    pub(super) separator: DecimalSeparator,
    pub(super) date_format: Option<DateFormat>,
    pub(super) zone: TimeZone,
    /// The field of each column.
    pub(super) columns: Vec<Option<Field>>,
    /// The same by the column's name, for files of objects.
    pub(super) by_name: HashMap<String, Option<Field>>,
    /// Every field there is.
    fields: Vec<Field>,
    /// What new customers get where the row says nothing: members, and those of `custom`.
    pub(super) defaults: Vec<(String, Box<RawValue>)>,
    pub(super) custom_defaults: Vec<(String, Box<RawValue>)>,
    pub(super) types: Vec<String>,
}

/// How a row finds its customer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum FindsBy {
    /// By the e-mail, else by the phone.
    EmailElsePhone,
    /// By one of them.
    Contact(ContactKind),
    /// By the customer's id.
    Id,
    /// By a unique custom field.
    Custom(CustomFieldId, String),
}

impl FindsBy {
    /// Reads an upsert key.
    ///
    /// # Errors
    /// `INVALID_CHOICE` for a field by which no customer can be found.
    pub(super) fn parse(key: Option<&str>, context: &Context) -> Result<Self, FieldErrors> {
        let Some(key) = key else { return Ok(Self::EmailElsePhone) };
        match key {
            "email" => return Ok(Self::Contact(ContactKind::Email)),
            "phone" | "contact_number" => return Ok(Self::Contact(ContactKind::Phone)),
            "id" => return Ok(Self::Id),
            _ => {}
        }
        let custom = key.strip_prefix("custom.").and_then(|key| context.fields.field(key)).filter(|field| field.unique);
        custom.map(|field| Self::Custom(field.id, field.key.clone())).ok_or_else(|| {
            let unique =
                context.fields.live().filter(|field| field.unique).map(|field| format!(", custom.{}", field.key));
            let message = format!("must be email, phone, id{}", unique.collect::<String>());
            FieldErrors::one("", "INVALID_CHOICE", message)
        })
    }

    /// The field's name, for a refusal.
    pub(super) fn name(&self) -> String {
        match self {
            Self::EmailElsePhone => "email".to_owned(),
            Self::Contact(kind) => kind.field().to_owned(),
            Self::Id => "id".to_owned(),
            Self::Custom(_, key) => format!("custom.{key}"),
        }
    }
}

impl Plan {
    /// Of an import, with the fields that there are now.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a field that a column goes into is no more.
    pub(super) fn new(import: &CustomerImport, context: &Context, zone: TimeZone) -> Result<Self> {
        let settings: ImportSettings = serde_json::from_str(import.settings.as_str()).map_err(Error::internal)?;
        let fields = field::all(&context.fields);
        let mut errors = FieldErrors::new();
        let mut columns = Vec::with_capacity(import.fields.len());
        for (column, name) in import.columns.iter().zip(&import.fields) {
            let field = if name.is_empty() { None } else { field::named(name, &fields) };
            if field.is_none() && !name.is_empty() {
                errors.add(format!("mapping.{column}"), "UNKNOWN_FIELD", format!("{name} is no field any more"));
            }
            // The id of a row says nothing unless customers are found by it.
            let idle = import.upsert_key.as_deref() != Some("id");
            columns.push(field.filter(|field| !(idle && field.kind == Kind::Id)));
        }
        let separator = settings.decimal_separator.as_deref().map(DecimalSeparator::parse).transpose()?;
        let date_format = settings.date_format.as_deref().map(DateFormat::parse).transpose()?;
        let format = match import.format.as_str() {
            "ndjson" => Format::Ndjson,
            _ => Format::Csv(
                import.delimiter.as_deref().and_then(|text| Delimiter::from_str(text).ok()).unwrap_or(Delimiter::COMMA),
            ),
        };
        let finds_by = FindsBy::parse(import.upsert_key.as_deref(), context)?;
        let (defaults, custom_defaults) = defaults(settings.defaults.as_deref())?;
        let by_name = import.columns.iter().cloned().zip(columns.iter().cloned()).collect();
        errors.or(())?;
        Ok(Self {
            format,
            mode: import.mode,
            finds_by,
            separator: separator.unwrap_or_default(),
            date_format,
            zone,
            columns,
            by_name,
            fields,
            defaults,
            custom_defaults,
            types: context.types.to_vec(),
            settings,
        })
    }

    /// The field of a member of an object. One that the first records did not have goes into the field of its name.
    pub(super) fn of_member(&self, name: &str) -> Option<Field> {
        match self.by_name.get(name) {
            Some(field) => field.clone(),
            None => field::named(name, &self.fields).filter(|field| field.kind != Kind::Id),
        }
    }

    /// Whether a new customer gets something that the row does not say.
    pub(super) const fn has_defaults(&self) -> bool {
        !self.defaults.is_empty() || !self.custom_defaults.is_empty()
    }
}

type Given = Vec<(String, Box<RawValue>)>;

/// The members of the defaults, and those of their `custom`.
pub(super) fn defaults(given: Option<&RawValue>) -> Result<(Given, Given), FieldErrors> {
    let Some(given) = given else { return Ok((Vec::new(), Vec::new())) };
    let owned = |members: Vec<(std::borrow::Cow<'_, str>, &RawValue)>| -> Given {
        members.into_iter().map(|(name, json)| (name.into_owned(), json.to_owned())).collect()
    };
    let mut members = Members::parse(given)?;
    let custom = match members.take(&["custom"]) {
        Some(custom) => Members::parse(custom)?.into_rest(),
        None => Vec::new(),
    };
    Ok((owned(members.into_rest()), owned(custom)))
}
