//! Searching: trigrams find the candidates, the folded text decides.
//!
//! A record that can be searched has an array with an entry for each searched field: its name and the distinct
//! trigrams of its folded text. One index over them all, led by the organization, answers which records can have a term;
//! a regular expression over the folded texts then tells which do. An entry for each field, not one for the
//! record, lets a change of one field write its own trigrams without reading the others.

use std::collections::BTreeSet;

use bson::{Bson, Document, Regex, doc, raw::cstr};
use crm_core::store::{Row, StoreError, StoreResult, Value, fold::fold};

use crate::{layout::Layout, row::Shadow};

/// The field with the trigrams.
pub(crate) const TRIGRAMS: &str = "search_trigrams";
/// Where the trigrams of every field lie.
pub(crate) const TRIGRAMS_PATH: &str = "search_trigrams.in";
/// How many trigrams of a term are looked up; the folded text is verified anyway, so a long term needs no more.
const LOOKED_UP: usize = 12;
/// The longest regular expression that MongoDB takes, with room for what stands around it.
const LONGEST_PATTERN: usize = 32_000;

/// The trigrams of a new row.
pub(crate) fn trigrams_of(layout: &Layout, row: &Row) -> Bson {
    let entries = layout.searched.iter().map(|position| {
        let name = layout.collection.fields[*position].name;
        let value = row.0.get(*position).unwrap_or(&Value::Null);
        Bson::Document(doc! { "of": name, "in": trigrams_of_value(value) })
    });
    Bson::Array(entries.collect())
}

/// The distinct trigrams of a text or of the elements of a list, folded.
pub(crate) fn trigrams_of_value(value: &Value) -> Vec<String> {
    let mut trigrams = BTreeSet::new();
    match value {
        Value::Text(text) => trigrams.extend(every_trigram(&fold(text))),
        Value::TextList(elements) => {
            elements.iter().for_each(|element| trigrams.extend(every_trigram(&fold(element))));
        }
        _ => {}
    }
    trigrams.into_iter().collect()
}

fn every_trigram(folded: &str) -> Vec<String> {
    let characters: Vec<char> = folded.chars().collect();
    characters.windows(3).map(|trigram| trigram.iter().collect()).collect()
}

/// Adds the conditions that every term is in some searched field.
///
/// # Errors
/// [`StoreError::TooLarge`] for a term of many thousand letters.
pub(crate) fn push_terms(conditions: &mut Vec<Document>, layout: &Layout, terms: &[String]) -> StoreResult<()> {
    let folded: Vec<String> = terms.iter().map(|term| fold(term)).collect();
    let trigrams: BTreeSet<String> = folded.iter().flat_map(|term| few_trigrams(term)).collect();
    if !trigrams.is_empty() {
        let trigrams: Vec<String> = trigrams.into_iter().collect();
        conditions.push(doc! { TRIGRAMS_PATH: { "$all": trigrams } });
    }
    for term in &folded {
        let pattern = containing(term)?;
        let fields = layout.searched.iter().filter_map(|position| {
            let shadow = layout.shadow(*position).unwrap_or(Shadow::Text);
            let name = layout.collection.fields.get(*position)?.name;
            Some(doc! { shadow.name(name): pattern.clone() })
        });
        let fields: Vec<Document> = fields.collect();
        conditions.push(doc! { "$or": fields });
    }
    Ok(())
}

/// Distinct trigrams of a folded term, spread over its length. A term of less than three characters has none, and is
/// looked for in every record that the rest of the filter leaves.
fn few_trigrams(term: &str) -> Vec<String> {
    let all = every_trigram(term);
    let step = all.len().div_ceil(LOOKED_UP).max(1);
    all.into_iter().step_by(step).collect()
}

/// What finds the folded text in a folded text, or in an element of a list.
///
/// # Errors
/// [`StoreError::TooLarge`] for a text of many thousand letters.
pub(crate) fn containing(folded: &str) -> StoreResult<Bson> {
    let mut pattern = String::with_capacity(folded.len() + 8);
    for character in folded.chars() {
        if character.is_ascii() && !character.is_ascii_alphanumeric() {
            match character {
                '\0' => return Err(StoreError::Misuse("a text to look for has a NUL".to_owned())),
                // Written as codes, since an escaped line end is not a line end in every flavour.
                character if character.is_ascii_control() => {
                    pattern.push_str(&format!("\\x{:02x}", u32::from(character)));
                }
                character => pattern.extend(['\\', character]),
            }
        } else {
            pattern.push(character);
        }
    }
    if pattern.len() > LONGEST_PATTERN {
        return Err(StoreError::TooLarge("a text to look for is longer than 32,000 bytes".to_owned()));
    }
    let pattern = pattern.try_into().map_err(StoreError::engine)?;
    Ok(Bson::RegularExpression(Regex { pattern, options: cstr!("").into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> String {
        let Bson::RegularExpression(regex) = containing(text).unwrap() else { panic!("no pattern") };
        regex.pattern.to_string()
    }

    #[test]
    fn patterns_mean_the_text_itself() {
        assert_eq!(pattern("a.b*(c)|\\é\n"), "a\\.b\\*\\(c\\)\\|\\\\é\\x0a");
        assert!(matches!(containing("a\0"), Err(StoreError::Misuse(_))));
        assert!(matches!(containing(&"x".repeat(40_000)), Err(StoreError::TooLarge(_))));
    }

    #[test]
    fn trigrams_are_distinct_and_few() {
        assert_eq!(few_trigrams("ab"), Vec::<String>::new());
        assert_eq!(few_trigrams("abca"), ["abc", "bca"]);
        let long: String = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
        assert!(few_trigrams(&long).len() <= LOOKED_UP);
        assert_eq!(trigrams_of_value(&Value::Text("AAAA".into())), ["aaa"]);
        assert_eq!(trigrams_of_value(&Value::TextList(vec!["Äbc".into(), "de".into()])), ["abc"]);
        assert_eq!(trigrams_of_value(&Value::Null), Vec::<String>::new());
    }
}
