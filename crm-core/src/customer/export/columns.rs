use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{
    customer::{
        Customer,
        shape::{FIELDS, RETAIL},
    },
    field::{CustomFieldType, FieldSet},
    record::Record as _,
    store::{Row, Value},
};

/// One column of a table.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// What stands in the header, and what an import reads it by.
    pub(super) header: String,
    pub(super) source: Source,
}

/// Where the cells of a column come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// A field of the record, by its place.
    Field {
        place: usize,
        /// Whether its texts can only be digits, such as phones: no spreadsheet takes them for a formula that does
        /// anything.
        harmless: bool,
    },
    /// A custom field, by its place among the table's.
    Custom { slot: usize, kind: CustomFieldType },
}

/// The columns of a table of customers.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) columns: Vec<Column>,
    /// The place of the custom fields in a row.
    custom: usize,
    keys: Vec<String>,
}

/// The custom values of one row: where they stand in the JSON.
#[derive(Clone, Debug, Default)]
pub(super) struct CustomCells {
    places: Vec<Range<usize>>,
}

impl Columns {
    /// Of these fields, in their order; of all where there are none. Only customers of the bin have a `deleted_at`.
    pub(super) fn new(fields: &[String], retail: bool, deleted: bool, custom: &FieldSet) -> Self {
        let all: Vec<String>;
        let fields = if fields.is_empty() {
            let is_shown = |name: &str| !is_retail(name) && name != "custom" && (deleted || name != "deleted_at");
            let own = FIELDS.into_iter().filter(|name| is_shown(name));
            all = own.chain(["custom"]).map(str::to_owned).collect();
            &all
        } else {
            fields
        };
        let mut table = Self { columns: Vec::new(), custom: place("custom").unwrap_or_default(), keys: Vec::new() };
        for name in fields {
            match name.strip_prefix("custom.") {
                Some(key) => table.add_custom(custom, key),
                None if name == "custom" => {
                    let keys: Vec<String> = custom.live().map(|field| field.key.clone()).collect();
                    keys.iter().for_each(|key| table.add_custom(custom, key));
                }
                None => table.add(name, retail),
            }
        }
        table
    }

    fn add(&mut self, name: &str, retail: bool) {
        let own = RETAIL.iter().find(|(_, retail)| *retail == name).map_or(name, |(own, _)| own);
        let shown = RETAIL.iter().find(|(name, _)| retail && *name == own).map_or(own, |(_, retail)| retail);
        let Some(place) = place(own) else { return };
        if self.columns.iter().all(|column| column.header != shown) {
            let source = Source::Field { place, harmless: matches!(own, "phone" | "phones") };
            self.columns.push(Column { header: shown.to_owned(), source });
        }
    }

    fn add_custom(&mut self, custom: &FieldSet, key: &str) {
        if let Some(field) = custom.field(key)
            && !self.keys.iter().any(|known| known == key)
        {
            let source = Source::Custom { slot: self.keys.len(), kind: field.r#type };
            self.keys.push(key.to_owned());
            self.columns.push(Column { header: format!("custom.{key}"), source });
        }
    }

    /// The names of the columns.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.header.as_str())
    }

    /// Finds the custom values of a row. Costs nothing where no column is one.
    pub(super) fn find_custom<'r>(&self, row: &'r Row, cells: &mut CustomCells) -> &'r str {
        cells.places.clear();
        let Some(Value::Json(json)) = row.0.get(self.custom).filter(|_| !self.keys.is_empty()) else { return "" };
        cells.places.resize(self.keys.len(), 0..0);
        let json = json.as_str();
        if json != "{}" {
            let seed = Members { json, keys: &self.keys, places: &mut cells.places };
            // What was changed from outside into something else has no values.
            let _ = serde_json::Deserializer::from_str(json).deserialize_map(seed);
        }
        json
    }
}

impl CustomCells {
    /// The JSON of a value; empty where there is none.
    pub(super) fn get<'j>(&self, json: &'j str, slot: usize) -> &'j str {
        let place = self.places.get(slot).cloned().unwrap_or_default();
        json.get(place).filter(|value| *value != "null").unwrap_or_default()
    }
}

fn is_retail(name: &str) -> bool {
    RETAIL.iter().any(|(_, retail)| *retail == name)
}

/// The place of a field in a row.
pub(super) fn place(name: &str) -> Option<usize> {
    Customer::COLLECTION.fields.iter().position(|field| field.name == name)
}

struct Members<'a> {
    json: &'a str,
    keys: &'a [String],
    places: &'a mut [Range<usize>],
}

/// Finds a key among those that are wanted, without keeping it.
struct Key<'a>(&'a [String]);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(slot) = map.next_key_seed(Key(self.keys))? {
            let value = map.next_value::<&'de RawValue>()?.get();
            // The value is a part of the text, so where it stands is how far its address is from the text's.
            let start = value.as_ptr().addr().saturating_sub(self.json.as_ptr().addr());
            if let Some(place) = slot.and_then(|slot| self.places.get_mut(slot)).filter(|place| Range::is_empty(place))
            {
                *place = start..start + value.len();
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|wanted| wanted == key))
    }
}
