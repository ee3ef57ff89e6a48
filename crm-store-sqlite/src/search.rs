//! Searching: trigrams find the candidates, the folded text decides.

use crm_core::store::{FieldKind, fold::fold};

use crate::{
    layout::{Layout, shadow_name},
    statement::{Statement, identifier},
};

/// How many trigrams of a term are looked up; the folded text is verified anyway, so a long term needs no more.
const TRIGRAMS: usize = 12;

/// Writes the condition that every term is in some searchable field.
pub(crate) fn push_terms(statement: &mut Statement, layout: &Layout, alias: &str, terms: &[String]) {
    let folded: Vec<String> = terms.iter().map(|term| fold(term)).collect();
    let trigrams: Vec<String> = folded.iter().flat_map(|term| trigrams(term)).collect();
    statement.push("(");
    match layout.search_table() {
        None => {
            statement.push(if terms.is_empty() { "1" } else { "0" });
        }
        Some(table) => {
            let mut place = 0;
            if !trigrams.is_empty() {
                let table = identifier(&table);
                statement.push(&format!("{alias}.\"row\" IN (SELECT rowid FROM {table} WHERE {table} MATCH "));
                statement.bind_text(trigrams.join(" AND ")).push(")");
                place += 1;
            }
            for term in folded {
                if place > 0 {
                    statement.push(" AND ");
                }
                push_verification(statement, layout, alias, &term);
                place += 1;
            }
            if place == 0 {
                statement.push("1");
            }
        }
    }
    statement.push(")");
}

/// Writes that the folded term is in one of the fields, or in one element of a list.
fn push_verification(statement: &mut Statement, layout: &Layout, alias: &str, term: &str) {
    let fields = layout.collection.search.iter().filter_map(|name| layout.collection.field(name));
    statement.push("(");
    for (place, field) in fields.enumerate() {
        statement.push(if place > 0 { " OR " } else { "" });
        let folded = format!("{alias}.{}", identifier(&shadow_name(field)));
        if field.kind == FieldKind::TextList {
            // The term as JSON writes it is in the text of every list that has it, which is quickly seen.
            let quoted = serde_json::Value::from(term).to_string();
            let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
            statement.push("(instr(").push(&folded).push(",").bind_text(inner.to_owned());
            statement.push(") > 0 AND EXISTS (SELECT 1 FROM json_each(").push(&folded).push(") WHERE instr(value,");
            statement.bind_text(term.to_owned()).push(") > 0))");
        } else {
            statement.push("instr(").push(&folded).push(",").bind_text(term.to_owned()).push(") > 0");
        }
    }
    statement.push(")");
}

/// Distinct trigrams of a folded term, spread over its length, quoted for FTS5. A term of less than three characters
/// has none, and is looked for in every row that the rest of the filter leaves.
fn trigrams(term: &str) -> Vec<String> {
    let characters: Vec<char> = term.chars().collect();
    let all: Vec<&[char]> = characters.windows(3).collect();
    let step = all.len().div_ceil(TRIGRAMS).max(1);
    let mut quoted: Vec<String> = all
        .into_iter()
        .step_by(step)
        .map(|trigram| format!("\"{}\"", trigram.iter().collect::<String>().replace('"', "\"\"")))
        .collect();
    quoted.sort_unstable();
    quoted.dedup();
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigrams_are_quoted_and_few() {
        assert_eq!(trigrams("ab"), Vec::<String>::new());
        assert_eq!(trigrams("abca"), ["\"abc\"", "\"bca\""]);
        assert_eq!(trigrams("a\"b"), ["\"a\"\"b\""]);
        assert_eq!(trigrams("aaaaaaaa"), ["\"aaa\""]);
        let long: String = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
        assert!(trigrams(&long).len() <= TRIGRAMS);
    }
}
