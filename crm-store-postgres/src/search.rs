//! Searching: trigrams find the candidates, the folded text decides.
//!
//! The trigrams are our own, not those of `pg_trgm`: that finds none in Cyrillic or Hindi where the database has the C
//! locale, needs an extension that not everybody may create, and an index of it cannot be led by an organization
//! without another. Here every three characters that follow each other are one number, a digest of them and of the
//! organization, so that one organization's search reads nothing of another's.

use crm_core::store::fold::fold;
use uuid::Uuid;

use crate::{
    layout::{Layout, digest},
    row::Shadow,
    statement::{Statement, identifier},
};

/// What stands between the elements of a list that are kept as one text: nobody types it.
pub(crate) const SEPARATOR: char = '\u{1}';

/// How many trigrams of a term are looked up; the folded text is verified anyway, so a long term needs no more.
const LOOKED_UP: usize = 12;

/// Writes the condition that every term is in some searchable field.
pub(crate) fn push_terms(
    statement: &mut Statement,
    layout: &Layout,
    alias: &str,
    owner: Option<Uuid>,
    terms: &[String],
) {
    if !layout.is_searched() {
        statement.push(if terms.is_empty() { "true" } else { "false" });
        return;
    }
    let folded: Vec<String> = terms.iter().map(|term| fold(term)).collect();
    let mut sought: Vec<i32> = folded.iter().flat_map(|term| few_trigrams(owner, term)).collect();
    sought.sort_unstable();
    sought.dedup();
    statement.push("(true");
    if !sought.is_empty() {
        statement.push(" AND ").push(&layout.trigrams(&format!("{alias}."))).push(" @> ");
        statement.bind_integers(Some(&sought));
    }
    for term in &folded {
        statement.push(" AND ");
        push_verification(statement, layout, alias, term);
    }
    statement.push(")");
}

/// Writes that the folded term is in one of the fields, or in one element of a list.
fn push_verification(statement: &mut Statement, layout: &Layout, alias: &str, term: &str) {
    let fields = layout.collection.search.iter().filter_map(|name| layout.collection.field(name));
    statement.push("(");
    for (place, field) in fields.enumerate() {
        statement.push(if place > 0 { " OR " } else { "" });
        let folded = format!("{alias}.{}", identifier(&Shadow::Text.name(field)));
        statement.push("strpos(").push(&folded).push(",").bind_text(term).push(") > 0");
    }
    statement.push(")");
}

/// The folded elements of a list as one text.
pub(crate) fn joined(elements: &[String]) -> String {
    let mut text = String::new();
    for (place, element) in elements.iter().enumerate() {
        if place > 0 {
            text.push(SEPARATOR);
        }
        text.push_str(&fold(element));
    }
    text
}

/// The distinct trigrams of a folded text, in order.
pub(crate) fn trigrams(owner: Option<Uuid>, text: &str) -> Vec<i32> {
    let mut trigrams: Vec<i32> = windows(text).map(|trigram| number(owner, trigram)).collect();
    trigrams.sort_unstable();
    trigrams.dedup();
    trigrams
}

/// Some trigrams of a folded term, spread over its length. A term of less than three characters has none, and is looked
/// for in every row that the rest of the filter leaves.
fn few_trigrams(owner: Option<Uuid>, term: &str) -> Vec<i32> {
    let all: Vec<&str> = windows(term).collect();
    let step = all.len().div_ceil(LOOKED_UP).max(1);
    all.into_iter().step_by(step).map(|trigram| number(owner, trigram)).collect()
}

/// Every three characters that follow each other.
fn windows(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.char_indices().map(|(start, _)| start);
    let ends = text.char_indices().skip(3).map(|(end, _)| end).chain([text.len()]);
    let enough = text.chars().nth(2).is_some();
    starts.zip(ends).filter(move |_| enough).map(|(start, end)| &text[start..end])
}

fn number(owner: Option<Uuid>, trigram: &str) -> i32 {
    let owner = owner.map(Uuid::into_bytes);
    let parts = [owner.as_ref().map_or(&[][..], |bytes| &bytes[..]), trigram.as_bytes()];
    digest(parts).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn trigrams_are_of_three_characters() {
        assert_eq!(windows("ab").count(), 0);
        assert_eq!(windows("abca").collect::<Vec<_>>(), ["abc", "bca"]);
        assert_eq!(windows("हिन्").collect::<Vec<_>>(), ["हिन", "िन्"]);
        assert_eq!(trigrams(None, "aaaaaaa").len(), 1);
        assert_ne!(trigrams(None, "abc"), trigrams(Some(Uuid::from_u128(1)), "abc"));
        assert!(few_trigrams(None, &"abcdefghij".repeat(20)).len() <= LOOKED_UP);
    }

    proptest! {
        #[test]
        fn a_part_of_a_text_has_only_trigrams_of_it(text in any::<String>(), skip in 0..5_usize, take in 0..9_usize) {
            let part: String = text.chars().skip(skip).take(take).collect();
            let all = trigrams(None, &text);
            prop_assert!(few_trigrams(None, &part).iter().all(|trigram| all.contains(trigram)));
        }
    }
}
